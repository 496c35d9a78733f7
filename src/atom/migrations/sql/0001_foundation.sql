-- The foundation: identity, agents, runs and their journal, governance, events, jobs, and the tables the guide queries.

CREATE TABLE app_user (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    role text NOT NULL CHECK (role IN ('viewer', 'operator', 'admin', 'agent')),
    created_at timestamptz NOT NULL DEFAULT now(),
    disabled_at timestamptz
);
CREATE UNIQUE INDEX idx_app_user_name ON app_user (lower(name));

CREATE TABLE api_key (
    id uuid PRIMARY KEY,
    key_id text NOT NULL UNIQUE,
    secret_hash bytea NOT NULL,
    name text NOT NULL,
    role text NOT NULL CHECK (role IN ('viewer', 'operator', 'admin', 'agent')),
    user_id uuid REFERENCES app_user (id),
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz
);

CREATE TABLE agent (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    instructions text NOT NULL,
    tools text[] NOT NULL,
    model text,
    maturity text NOT NULL CHECK (maturity IN ('student', 'intern', 'supervised', 'autonomous')),
    status text NOT NULL CHECK (status IN ('active', 'paused', 'retired')),
    version integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX idx_agent_name ON agent (lower(name));

CREATE TABLE agent_version (
    agent_id uuid NOT NULL REFERENCES agent (id),
    version integer NOT NULL,
    definition jsonb NOT NULL,
    changed_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (agent_id, version)
);

CREATE TABLE conversation (
    id uuid PRIMARY KEY,
    agent_id uuid NOT NULL REFERENCES agent (id),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE agent_execution (
    id uuid PRIMARY KEY,
    agent_id uuid NOT NULL REFERENCES agent (id),
    agent_version integer NOT NULL,
    conversation_id uuid NOT NULL REFERENCES conversation (id),
    trigger text NOT NULL,
    requested_by text NOT NULL,
    task text NOT NULL,
    files jsonb NOT NULL DEFAULT '[]',
    requested_model text,
    status text NOT NULL CHECK (status IN ('queued', 'running', 'waiting', 'paused', 'completed', 'failed', 'cancelled')),
    wait_reason text CHECK (wait_reason IN ('approval', 'provider', 'budget', 'operator', 'review', 'restored')),
    answer text,
    sources jsonb NOT NULL DEFAULT '[]',
    error jsonb,
    provider text,
    model text,
    model_note text,
    input_tokens bigint,
    output_tokens bigint,
    model_calls integer NOT NULL DEFAULT 0,
    tool_calls integer NOT NULL DEFAULT 0,
    worked_ms bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    ended_at timestamptz,
    cancel_requested_at timestamptz,
    cancel_requested_by text,
    lease_owner text,
    lease_epoch bigint NOT NULL DEFAULT 0,
    lease_expires_at timestamptz,
    wake_seq bigint NOT NULL DEFAULT 0,
    crashes integer NOT NULL DEFAULT 0,
    CHECK ((status = 'waiting') = (wait_reason IS NOT NULL)),
    CHECK ((status IN ('completed', 'failed', 'cancelled')) = (ended_at IS NOT NULL))
);
CREATE INDEX idx_agent_execution_started_at ON agent_execution (started_at);
CREATE INDEX idx_agent_execution_agent ON agent_execution (agent_id, id DESC);
CREATE INDEX idx_agent_execution_conversation ON agent_execution (conversation_id, id);
CREATE INDEX idx_agent_execution_open ON agent_execution (id) WHERE status IN ('queued', 'running');

CREATE TABLE execution_step (
    execution_id uuid NOT NULL REFERENCES agent_execution (id),
    step_no integer NOT NULL,
    key text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('model', 'tool')),
    name text NOT NULL,
    status text NOT NULL CHECK (status IN ('started', 'done')),
    epoch bigint NOT NULL,
    request jsonb NOT NULL,
    result jsonb,
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    PRIMARY KEY (execution_id, step_no),
    UNIQUE (execution_id, key)
);

CREATE TABLE llm_call (
    id uuid PRIMARY KEY,
    execution_id uuid REFERENCES agent_execution (id),
    step_key text,
    attempt integer NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    outcome text NOT NULL,
    input_tokens bigint,
    output_tokens bigint,
    seconds double precision NOT NULL,
    first_token_seconds double precision,
    request_id text,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_llm_call_execution ON llm_call (execution_id);
CREATE INDEX idx_llm_call_at ON llm_call (at);

CREATE TABLE idempotency_key (
    principal text NOT NULL,
    key text NOT NULL,
    fingerprint text NOT NULL,
    run_id uuid NOT NULL REFERENCES agent_execution (id),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (principal, key)
);

CREATE TABLE approval (
    id uuid PRIMARY KEY,
    execution_id uuid NOT NULL REFERENCES agent_execution (id),
    step_key text NOT NULL,
    agent_id uuid NOT NULL REFERENCES agent (id),
    agent_version integer NOT NULL,
    action text NOT NULL,
    arguments jsonb NOT NULL,
    digest text NOT NULL,
    reason text NOT NULL,
    status text NOT NULL CHECK (status IN ('pending', 'approved', 'rejected', 'expired', 'cancelled', 'used')),
    requested_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    decided_at timestamptz,
    decided_by text,
    note text
);
CREATE UNIQUE INDEX idx_approval_open ON approval (execution_id, step_key) WHERE status IN ('pending', 'approved');
CREATE INDEX idx_approval_pending ON approval (requested_at) WHERE status = 'pending';

CREATE TABLE audit_entry (
    id uuid PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    action text NOT NULL,
    decision text NOT NULL,
    reason text NOT NULL,
    agent_id uuid,
    run_id uuid,
    data jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX idx_audit_entry_at ON audit_entry (at);
CREATE INDEX idx_audit_entry_run ON audit_entry (run_id);
CREATE FUNCTION audit_entry_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_entry is append-only' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry
    FOR EACH STATEMENT EXECUTE FUNCTION audit_entry_is_append_only();

CREATE SEQUENCE event_seq;
CREATE TABLE event (
    id uuid PRIMARY KEY,
    seq bigint,
    type text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    agent_id uuid,
    run_id uuid,
    data jsonb NOT NULL,
    v integer NOT NULL
);
CREATE UNIQUE INDEX idx_event_seq ON event (seq);
CREATE INDEX idx_event_unstamped ON event (id) WHERE seq IS NULL;
CREATE INDEX idx_event_run ON event (run_id, seq);

CREATE TABLE job (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    status text NOT NULL CHECK (status IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    params jsonb NOT NULL DEFAULT '{}',
    done bigint NOT NULL DEFAULT 0,
    total bigint,
    report jsonb,
    error jsonb,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    ended_at timestamptz,
    cancel_requested_at timestamptz,
    lease_owner text,
    lease_epoch bigint NOT NULL DEFAULT 0,
    lease_expires_at timestamptz,
    crashes integer NOT NULL DEFAULT 0
);
CREATE INDEX idx_job_open ON job (id) WHERE status IN ('queued', 'running');

-- What the troubleshooting guide queries; memory and skills fill them.
CREATE TABLE episode (
    id uuid PRIMARY KEY,
    agent_id uuid NOT NULL REFERENCES agent (id),
    execution_id uuid REFERENCES agent_execution (id),
    title text NOT NULL,
    summary text NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('success', 'failure', 'partial', 'unknown')),
    storage_tier text NOT NULL DEFAULT 'hot' CHECK (storage_tier IN ('hot', 'warm', 'cold')),
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_episode_tier ON episode (storage_tier);

CREATE TABLE skill_execution (
    id uuid PRIMARY KEY,
    skill_name text NOT NULL,
    execution_id uuid REFERENCES agent_execution (id),
    agent_id uuid REFERENCES agent (id),
    status text NOT NULL CHECK (status IN ('running', 'completed', 'failed')),
    error_code text,
    error_message text,
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz
);
CREATE INDEX idx_skill_execution_created_at ON skill_execution (created_at);
