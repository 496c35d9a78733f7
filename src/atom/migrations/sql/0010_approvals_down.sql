-- The release before knows none of this; webhooks, their receipts and delegations are gone with it.

DROP VIEW vault_use;
DROP TABLE webhook_delivery, webhook_endpoint, approval_delegation;
DROP INDEX idx_approval_expires, idx_approval_step, idx_approval_status, idx_approval_digest, idx_approval_agent;
ALTER TABLE approval
    DROP COLUMN eyes, DROP COLUMN requested_by, DROP COLUMN approvals, DROP COLUMN withheld, DROP COLUMN edited_from,
    DROP COLUMN edited_by, DROP COLUMN assignee;
