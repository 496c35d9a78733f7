-- The release before runs no skills: what was run is forgotten, what was made is in the agents' workspaces.

ALTER TABLE agent_execution DROP COLUMN offered;
DROP TABLE skill_execution_file;
DROP TABLE skill_execution;
