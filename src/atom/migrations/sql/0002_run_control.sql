-- Runs that people and other agents steer: priorities, pause, retry, review, runs that belong to a run.
-- Everything is added with a default, so that the release before goes on working on this schema.

ALTER TABLE agent ADD COLUMN max_running integer CHECK (max_running > 0);

ALTER TABLE agent_execution
    ADD COLUMN priority smallint NOT NULL DEFAULT 0 CHECK (priority BETWEEN -1 AND 1),
    ADD COLUMN pause_requested_at timestamptz,
    ADD COLUMN pause_requested_by text,
    ADD COLUMN retry_of uuid REFERENCES agent_execution (id),
    ADD COLUMN parent_id uuid REFERENCES agent_execution (id),
    ADD COLUMN parent_step text,
    ADD CHECK ((parent_id IS NULL) = (parent_step IS NULL));

ALTER TABLE agent_execution DROP CONSTRAINT agent_execution_wait_reason_check;
ALTER TABLE agent_execution ADD CONSTRAINT agent_execution_wait_reason_check
    CHECK (wait_reason IN ('approval', 'provider', 'budget', 'operator', 'review', 'restored', 'child')) NOT VALID;
ALTER TABLE agent_execution VALIDATE CONSTRAINT agent_execution_wait_reason_check;

ALTER TABLE execution_step DROP CONSTRAINT execution_step_status_check;
ALTER TABLE execution_step ADD CONSTRAINT execution_step_status_check
    CHECK (status IN ('started', 'done', 'retry')) NOT VALID;
ALTER TABLE execution_step VALIDATE CONSTRAINT execution_step_status_check;

-- The head of each agent's queue, and what each agent has at work, without a look at the rest of the table.
CREATE INDEX idx_agent_execution_queue ON agent_execution (agent_id, priority, id) WHERE status = 'queued';
CREATE INDEX idx_agent_execution_running ON agent_execution (agent_id, id) WHERE status = 'running';
CREATE UNIQUE INDEX idx_agent_execution_child ON agent_execution (parent_id, parent_step) WHERE parent_id IS NOT NULL;
CREATE INDEX idx_agent_execution_retry ON agent_execution (retry_of) WHERE retry_of IS NOT NULL;
CREATE INDEX idx_execution_step_open ON execution_step (execution_id) WHERE status <> 'done';

-- When each agent last had a turn: those who waited longest come first.
CREATE TABLE agent_turn (
    agent_id uuid PRIMARY KEY REFERENCES agent (id),
    served_at timestamptz NOT NULL
) WITH (fillfactor = 50);
