-- What the release before does not know becomes what it knows: a paused child's parent waits for an operator.

DROP TABLE agent_turn;
DROP INDEX idx_execution_step_open, idx_agent_execution_retry, idx_agent_execution_child, idx_agent_execution_running,
    idx_agent_execution_queue;
UPDATE execution_step SET status = 'started' WHERE status = 'retry';
ALTER TABLE execution_step DROP CONSTRAINT execution_step_status_check;
ALTER TABLE execution_step ADD CONSTRAINT execution_step_status_check CHECK (status IN ('started', 'done'));
UPDATE agent_execution SET wait_reason = 'operator' WHERE wait_reason = 'child';
ALTER TABLE agent_execution DROP CONSTRAINT agent_execution_wait_reason_check;
ALTER TABLE agent_execution ADD CONSTRAINT agent_execution_wait_reason_check
    CHECK (wait_reason IN ('approval', 'provider', 'budget', 'operator', 'review', 'restored'));
ALTER TABLE agent_execution
    DROP COLUMN parent_step, DROP COLUMN parent_id, DROP COLUMN retry_of, DROP COLUMN pause_requested_by,
    DROP COLUMN pause_requested_at, DROP COLUMN priority;
ALTER TABLE agent DROP COLUMN max_running;
