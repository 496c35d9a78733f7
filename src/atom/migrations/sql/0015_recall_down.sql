ALTER TABLE agent_execution DROP COLUMN recalled;
