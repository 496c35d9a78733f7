-- The release before knows none of this; keys in the vault and the ledger's details are gone with it.

DROP TABLE halt;
DROP INDEX idx_agent_execution_resume;
ALTER TABLE agent_execution
    DROP COLUMN resume_at, DROP COLUMN provider_wait_since, DROP COLUMN wait_detail, DROP COLUMN cost_usd,
    DROP COLUMN no_cache, DROP COLUMN options;
DROP INDEX idx_llm_call_key, idx_llm_call_agent;
ALTER TABLE llm_call
    DROP COLUMN agent_id, DROP COLUMN key_id, DROP COLUMN cached_tokens, DROP COLUMN cost_usd,
    DROP COLUMN error_class, DROP COLUMN cache_hit;
DROP TABLE budget_reservation, budget_use, budget, llm_route, llm_config, provider_key, vault_kek;
DROP FUNCTION llm_config_changed();
