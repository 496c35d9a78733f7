-- Executions of skills: a row for each, which the troubleshooting guide asks by skill, message and time. The table was
-- there for the guide's queries; no release has written a row into it.

DROP TABLE skill_execution;
CREATE TABLE skill_execution (
    id uuid PRIMARY KEY,
    skill_name text NOT NULL,
    version_id uuid NOT NULL REFERENCES skill_version (id),
    digest text NOT NULL,
    purpose text NOT NULL CHECK (purpose IN ('run', 'test')),
    actor text NOT NULL,
    agent_id uuid,
    run_id uuid,
    call_key text UNIQUE CHECK (char_length(call_key) <= 200),
    job_id uuid,
    script text NOT NULL,
    arguments text[] NOT NULL,
    input text NOT NULL,
    inputs jsonb NOT NULL DEFAULT '[]',
    status text NOT NULL CHECK (status IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    attempt integer NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    error_code text,
    error_message text,
    advice text,
    exit_reason text,
    exit_code integer,
    value jsonb,
    stdout text NOT NULL DEFAULT '',
    stderr text NOT NULL DEFAULT '',
    artefacts jsonb NOT NULL DEFAULT '[]',
    refused jsonb NOT NULL DEFAULT '[]',
    connections jsonb NOT NULL DEFAULT '[]',
    usage jsonb NOT NULL DEFAULT '{}',
    backend text NOT NULL DEFAULT '',
    guarantees jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    ends_by timestamptz,
    ended_at timestamptz,
    CHECK ((status IN ('completed', 'failed', 'cancelled')) = (ended_at IS NOT NULL)),
    CHECK ((status = 'failed') <= (error_code IS NOT NULL AND error_message IS NOT NULL))
);
CREATE INDEX idx_skill_execution_name ON skill_execution (skill_name, id DESC);
CREATE INDEX idx_skill_execution_run ON skill_execution (run_id, id DESC) WHERE run_id IS NOT NULL;
CREATE INDEX idx_skill_execution_failed ON skill_execution (created_at) WHERE status = 'failed';
CREATE INDEX idx_skill_execution_open ON skill_execution (ends_by) WHERE status IN ('queued', 'running');
CREATE INDEX idx_skill_execution_created_at ON skill_execution (created_at);

CREATE TABLE skill_execution_file (
    execution_id uuid NOT NULL REFERENCES skill_execution (id) ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN ('input', 'artefact')),
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 200),
    size bigint NOT NULL CHECK (size >= 0),
    sha256 text NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (execution_id, kind, name)
);

-- What an agent was offered at the start of its run: the same in every replay.
ALTER TABLE agent_execution ADD COLUMN offered jsonb;
