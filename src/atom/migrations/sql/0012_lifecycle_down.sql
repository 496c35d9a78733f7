-- Refused while bodies are not in the rows: the former release would show empty turns.
DO $$
BEGIN
    IF EXISTS (SELECT FROM episode WHERE storage_tier <> 'hot') THEN
        RAISE EXCEPTION 'Episodes are warm or cold: restore them first (atom episodes restore --all).';
    END IF;
END $$;
DROP TABLE episode_tombstone;
DROP TABLE memory_policy;
DROP TABLE episode_body;
ALTER TABLE episode DROP COLUMN tier_changed_at;
