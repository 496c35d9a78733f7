-- Refused while bodies are in the cold store: the former release would not find them.
DO $$
BEGIN
    IF EXISTS (SELECT FROM episode_cold) THEN
        RAISE EXCEPTION 'Episodes are cold: restore them first (atom episodes restore --all).';
    END IF;
END $$;
DROP INDEX idx_episode_tier_time;
ALTER TABLE episode_tombstone DROP COLUMN cold_object_id;
DROP TABLE episode_cold;
DROP TABLE cold_object;
DROP TABLE cold_lease;
DROP TABLE memory_job_run;
