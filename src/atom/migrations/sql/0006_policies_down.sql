-- The release before knows no policies and no grants: critical and irreversible actions ask again.

DROP TRIGGER agent_changed ON agent;
DROP FUNCTION agent_changed();
DROP TABLE action_grant, policy, policy_epoch;
DROP FUNCTION action_grant_changed(), policy_changed();
