-- The release before runs no skills: what was run is forgotten, what was made is in the agents' workspaces.

ALTER TABLE agent_execution DROP COLUMN offered;
DROP TABLE skill_execution_file;
DROP TABLE skill_execution;
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
