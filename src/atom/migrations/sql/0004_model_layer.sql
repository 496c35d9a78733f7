-- The model layer: keys in a vault, routes, budgets, the ledger of every attempt, and the kill switch.
-- Everything is added with a default, so that the release before goes on working on this schema.

-- One row for each key-encryption key that was ever in use. `canary` proves that the one at hand is the right one.
CREATE TABLE vault_kek (
    kek_id text PRIMARY KEY,
    canary jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE provider_key (
    id uuid PRIMARY KEY,
    provider text NOT NULL,
    name text NOT NULL,
    owner text,
    priority integer NOT NULL DEFAULT 100 CHECK (priority BETWEEN 0 AND 1000),
    models text[] NOT NULL DEFAULT '{}',
    base_url text,
    options jsonb NOT NULL DEFAULT '{}',
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled', 'refused')),
    reason text,
    version integer NOT NULL DEFAULT 1,
    envelope jsonb NOT NULL,
    kek_id text NOT NULL REFERENCES vault_kek (kek_id),
    fingerprint text NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    removed_at timestamptz
);
CREATE UNIQUE INDEX idx_provider_key_name ON provider_key (lower(name)) WHERE removed_at IS NULL;
CREATE INDEX idx_provider_key_kek ON provider_key (kek_id, id);

CREATE TABLE llm_route (
    position integer PRIMARY KEY CHECK (position BETWEEN 1 AND 50),
    provider text NOT NULL,
    model text,
    key_id uuid REFERENCES provider_key (id)
);

-- `version` goes up with every change of keys, routes and budgets: replicas compare it.
CREATE TABLE llm_config (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    version bigint NOT NULL DEFAULT 1
);
INSERT INTO llm_config DEFAULT VALUES;
CREATE FUNCTION llm_config_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE llm_config SET version = version + 1;
    PERFORM pg_notify('atom_models', '');
    RETURN NULL;
END $$;

CREATE TABLE budget (
    id uuid PRIMARY KEY,
    scope text NOT NULL CHECK (scope IN ('deployment', 'agent', 'key')),
    subject uuid,
    unit text NOT NULL CHECK (unit IN ('tokens', 'usd')),
    window_kind text NOT NULL CHECK (window_kind IN ('run', 'day', 'month')),
    amount numeric(20, 8) NOT NULL CHECK (amount > 0),
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((scope = 'deployment') = (subject IS NULL))
);
CREATE UNIQUE INDEX idx_budget_what ON budget (scope, subject, unit, window_kind) NULLS NOT DISTINCT;

-- `window_key`: a day (2026-01-31), a month (2026-01), or a run's id.
CREATE TABLE budget_use (
    budget_id uuid NOT NULL REFERENCES budget (id) ON DELETE CASCADE,
    window_key text NOT NULL,
    used numeric(20, 8) NOT NULL DEFAULT 0,
    reserved numeric(20, 8) NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    PRIMARY KEY (budget_id, window_key)
) WITH (fillfactor = 50);

CREATE TABLE budget_reservation (
    id uuid NOT NULL,
    budget_id uuid NOT NULL REFERENCES budget (id) ON DELETE CASCADE,
    window_key text NOT NULL,
    amount numeric(20, 8) NOT NULL,
    execution_id uuid NOT NULL REFERENCES agent_execution (id),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id, budget_id)
);
CREATE INDEX idx_budget_reservation_run ON budget_reservation (execution_id);

CREATE TRIGGER provider_key_changed AFTER INSERT OR DELETE OR
    UPDATE OF provider, name, owner, priority, models, base_url, options, status, version, envelope, removed_at
    ON provider_key FOR EACH STATEMENT EXECUTE FUNCTION llm_config_changed();
CREATE TRIGGER llm_route_changed AFTER INSERT OR UPDATE OR DELETE ON llm_route
    FOR EACH STATEMENT EXECUTE FUNCTION llm_config_changed();
CREATE TRIGGER budget_changed AFTER INSERT OR UPDATE OR DELETE ON budget
    FOR EACH STATEMENT EXECUTE FUNCTION llm_config_changed();

-- The ledger: a row for each attempt. Null means that nobody knows, which is not zero.
ALTER TABLE llm_call
    ADD COLUMN agent_id uuid,
    ADD COLUMN key_id uuid,
    ADD COLUMN cached_tokens bigint,
    ADD COLUMN cost_usd numeric(20, 10),
    ADD COLUMN error_class text,
    ADD COLUMN cache_hit boolean NOT NULL DEFAULT false;
CREATE INDEX idx_llm_call_agent ON llm_call (agent_id, at);
CREATE INDEX idx_llm_call_key ON llm_call (key_id, at) WHERE key_id IS NOT NULL;

-- A run that waits for a provider or a budget: when it is tried again, and since when it waits.
ALTER TABLE agent_execution
    ADD COLUMN resume_at timestamptz,
    ADD COLUMN provider_wait_since timestamptz,
    ADD COLUMN wait_detail text,
    ADD COLUMN cost_usd numeric(20, 10),
    ADD COLUMN no_cache boolean NOT NULL DEFAULT false,
    ADD COLUMN options jsonb; -- what the caller asked beside the task: earlier turns, the shape of the answer
CREATE INDEX idx_agent_execution_resume ON agent_execution (resume_at)
    WHERE status = 'waiting' AND resume_at IS NOT NULL;

-- The kill switch: a row that stands while everything is halted.
CREATE TABLE halt (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    reason text NOT NULL,
    halted_by text NOT NULL,
    halted_at timestamptz NOT NULL DEFAULT now()
);
