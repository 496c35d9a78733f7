-- Approvals: edited before they are given, by two people, assigned and delegated, and told to others by webhooks.
-- Everything is added with a default, so that the release before goes on working on this schema.

-- `approvals`: every yes so far ({by, at, note}). `withheld`: the people who may not decide it (any more), by name.
-- `edited_from`: what the agent had asked for ({digest, arguments}) before a person changed it.
ALTER TABLE approval
    ADD COLUMN eyes text NOT NULL DEFAULT 'any' CHECK (eyes IN ('any', 'other', 'two')),
    ADD COLUMN requested_by text,
    ADD COLUMN approvals jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN withheld text[] NOT NULL DEFAULT '{}',
    ADD COLUMN edited_from jsonb,
    ADD COLUMN edited_by text,
    ADD COLUMN assignee text;
CREATE INDEX idx_approval_expires ON approval (expires_at) WHERE status = 'pending';
CREATE INDEX idx_approval_step ON approval (execution_id, step_key, id);
CREATE INDEX idx_approval_status ON approval (status, id);
CREATE INDEX idx_approval_digest ON approval (digest) WHERE status = 'pending';
CREATE INDEX idx_approval_agent ON approval (agent_id, id);

-- While it stands, `to_person` may decide what is assigned to `from_person`. Names are kept as they are compared.
CREATE TABLE approval_delegation (
    id uuid PRIMARY KEY,
    from_person text NOT NULL,
    to_person text NOT NULL,
    note text,
    until timestamptz NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_by text,
    revoked_at timestamptz,
    CHECK (from_person <> to_person)
);
CREATE INDEX idx_approval_delegation_to ON approval_delegation (to_person) WHERE revoked_at IS NULL;

-- `secret` is an envelope of the vault.
CREATE TABLE webhook_endpoint (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    url text NOT NULL,
    types text[] NOT NULL,
    secret jsonb NOT NULL,
    kek_id text NOT NULL REFERENCES vault_kek (kek_id),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled')),
    reason text,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    removed_at timestamptz
);
CREATE UNIQUE INDEX idx_webhook_endpoint_name ON webhook_endpoint (lower(name)) WHERE removed_at IS NULL;

-- Every key-encryption key that something stored needs, by whatever table keeps it.
CREATE VIEW vault_use AS
    SELECT kek_id FROM provider_key WHERE removed_at IS NULL
    UNION ALL SELECT kek_id FROM trigger WHERE removed_at IS NULL AND kek_id IS NOT NULL
    UNION ALL SELECT kek_id FROM webhook_endpoint WHERE removed_at IS NULL;

-- An outbox: written in the transaction of what it tells of, sent by a worker, kept as the receipt.
CREATE TABLE webhook_delivery (
    id uuid PRIMARY KEY,
    endpoint_id uuid NOT NULL REFERENCES webhook_endpoint (id),
    type text NOT NULL,
    body text NOT NULL,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    next_at timestamptz NOT NULL DEFAULT now(),
    leased_until timestamptz,
    ended_at timestamptz,
    response_code integer,
    last_error text
);
CREATE INDEX idx_webhook_delivery_due ON webhook_delivery (next_at) WHERE status = 'pending';
CREATE INDEX idx_webhook_delivery_endpoint ON webhook_delivery (endpoint_id, id);
CREATE INDEX idx_webhook_delivery_leased ON webhook_delivery (endpoint_id, leased_until) WHERE leased_until IS NOT NULL;
CREATE INDEX idx_webhook_delivery_ended ON webhook_delivery (ended_at) WHERE ended_at IS NOT NULL;
