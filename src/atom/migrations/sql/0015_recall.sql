-- What the agent remembered of the task before it began: kept with the run, so that every replay starts from the same.
ALTER TABLE agent_execution ADD COLUMN recalled jsonb;
