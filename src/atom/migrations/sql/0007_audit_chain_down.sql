-- The release before writes entries without links; what the chain proved is gone with it.

DROP INDEX idx_audit_entry_actor, idx_audit_entry_agent;
ALTER TABLE audit_entry ENABLE TRIGGER audit_entry_append_only;
DROP TRIGGER audit_entry_chained ON audit_entry;
DROP TABLE audit_link;
DROP FUNCTION audit_link_is_append_only(), audit_entry_chain(), audit_link_add(audit_entry), audit_body(audit_entry),
    audit_canonical(jsonb);
