-- Evidence of what agents did, changes of maturity, and training sessions.
-- Everything is added with a default, so that the release before goes on working on this schema.

-- Classes of actions in which an agent may do less than its maturity says: {"egress": "student"}.
ALTER TABLE agent ADD COLUMN class_maturity jsonb NOT NULL DEFAULT '{}';

-- One row for each verified outcome. `source` names what it is evidence of; of several rows about the same source, one
-- counts. `at`: when that happened. Runs are named without a reference: evidence outlives the run.
CREATE TABLE evidence (
    id uuid PRIMARY KEY,
    agent_id uuid NOT NULL REFERENCES agent (id),
    agent_version integer NOT NULL,
    action_class text CHECK (action_class IN ('read', 'write', 'destroy', 'egress', 'delegate')),
    kind text NOT NULL
        CHECK (kind IN ('rated', 'failure', 'approved', 'edited', 'rejected', 'intervention', 'violation')),
    source text NOT NULL,
    run_id uuid,
    approval_id uuid,
    score double precision CHECK (score BETWEEN 0 AND 1),
    at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    by text NOT NULL,
    data jsonb NOT NULL DEFAULT '{}',
    counts boolean NOT NULL DEFAULT true,
    CHECK ((kind IN ('rated', 'failure')) = (score IS NOT NULL))
);
CREATE UNIQUE INDEX idx_evidence_source ON evidence (source) WHERE counts;
CREATE INDEX idx_evidence_counted ON evidence (agent_id, at) WHERE counts;
CREATE INDEX idx_evidence_agent ON evidence (agent_id, id);

-- Every change of a maturity, with who or what made it. `action_class`: null when it was the agent's own.
CREATE TABLE maturity_change (
    id uuid PRIMARY KEY,
    agent_id uuid NOT NULL REFERENCES agent (id),
    agent_version integer NOT NULL,
    action_class text CHECK (action_class IN ('read', 'write', 'destroy', 'egress', 'delegate')),
    before text NOT NULL CHECK (before IN ('student', 'intern', 'supervised', 'autonomous')),
    after text NOT NULL CHECK (after IN ('student', 'intern', 'supervised', 'autonomous')),
    how text NOT NULL CHECK (how IN ('promoted', 'overridden', 'lowered', 'demoted')),
    reason text NOT NULL,
    by text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    data jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX idx_maturity_change_agent ON maturity_change (agent_id, at);

-- Tasks that a person works on together with an agent. `origin_ref` names what proposed it, once.
CREATE TABLE training_session (
    id uuid PRIMARY KEY,
    agent_id uuid NOT NULL REFERENCES agent (id),
    task text NOT NULL,
    origin text NOT NULL,
    origin_ref text,
    proposed_by text NOT NULL,
    status text NOT NULL CHECK (status IN ('proposed', 'open', 'rated', 'dismissed')),
    run_id uuid REFERENCES agent_execution (id),
    opened_by text,
    closed_by text,
    note text,
    created_at timestamptz NOT NULL DEFAULT now(),
    opened_at timestamptz,
    closed_at timestamptz,
    CHECK ((status IN ('open', 'rated')) <= (run_id IS NOT NULL)),
    CHECK ((status IN ('rated', 'dismissed')) = (closed_at IS NOT NULL))
);
CREATE UNIQUE INDEX idx_training_session_origin ON training_session (origin_ref) WHERE origin_ref IS NOT NULL;
CREATE UNIQUE INDEX idx_training_session_task ON training_session (agent_id, md5(task)) WHERE status = 'proposed';
CREATE INDEX idx_training_session_agent ON training_session (agent_id, id);
