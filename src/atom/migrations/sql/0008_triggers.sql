-- Triggers: what starts runs without a person, each firing on record once; proposals; who is watching; corrections.
-- Everything is added with a default, so that the release before goes on working on this schema.

CREATE TABLE trigger (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    agent_id uuid NOT NULL REFERENCES agent (id),
    kind text NOT NULL CHECK (kind IN ('schedule', 'webhook', 'event', 'agent')),
    definition jsonb NOT NULL DEFAULT '{}',
    task text NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    version integer NOT NULL DEFAULT 1,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    removed_at timestamptz,
    due_at timestamptz,
    next_at timestamptz,
    seen_seq bigint NOT NULL DEFAULT 0,
    envelope jsonb NOT NULL DEFAULT '{}',
    kek_id text REFERENCES vault_kek (kek_id),
    secret_version integer NOT NULL DEFAULT 0,
    last_at timestamptz,
    last_run_id uuid REFERENCES agent_execution (id)
);
CREATE UNIQUE INDEX idx_trigger_name ON trigger (lower(name)) WHERE removed_at IS NULL;
CREATE INDEX idx_trigger_next ON trigger (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX idx_trigger_agent ON trigger (agent_id);

-- `key` is the same for the same reason to fire, for ever: the unique constraint is why nothing fires twice.
CREATE TABLE trigger_firing (
    id uuid PRIMARY KEY,
    trigger_id uuid NOT NULL REFERENCES trigger (id),
    key text NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('run', 'proposal', 'blocked', 'queued', 'expired')),
    reason text,
    run_id uuid REFERENCES agent_execution (id),
    proposal_id uuid,
    training_id uuid REFERENCES training_session (id),
    task text NOT NULL,
    chain uuid[] NOT NULL DEFAULT '{}',
    fired_by text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    settled_at timestamptz,
    UNIQUE (trigger_id, key)
);
CREATE INDEX idx_trigger_firing_trigger ON trigger_firing (trigger_id, id DESC);
CREATE INDEX idx_trigger_firing_run ON trigger_firing (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX idx_trigger_firing_queued ON trigger_firing (id) WHERE outcome = 'queued';

CREATE TABLE proposal (
    id uuid PRIMARY KEY,
    agent_id uuid NOT NULL REFERENCES agent (id),
    trigger_id uuid REFERENCES trigger (id),
    firing_id uuid REFERENCES trigger_firing (id),
    origin text NOT NULL,
    task text NOT NULL,
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'approved', 'rejected', 'expired', 'dismissed')),
    run_id uuid REFERENCES agent_execution (id),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    decided_at timestamptz,
    decided_by text,
    note text
);
CREATE INDEX idx_proposal_open ON proposal (trigger_id) WHERE status = 'open';
CREATE INDEX idx_proposal_expires ON proposal (expires_at) WHERE status = 'open';

CREATE TABLE operator_presence (
    key_id uuid PRIMARY KEY,
    actor text NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now()
);

-- A person's word to a run that goes on. `turn` is set when the model is shown it: a replay shows it there again.
CREATE TABLE run_note (
    id uuid PRIMARY KEY,
    execution_id uuid NOT NULL REFERENCES agent_execution (id),
    note text NOT NULL,
    written_by text NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now(),
    turn integer
);
CREATE INDEX idx_run_note_run ON run_note (execution_id, id);
