-- The release before knows none of this; what agents remember is gone with it.

DROP TABLE IF EXISTS episode_vector;
DROP TABLE episode_tally, episode_unembedded, episode_segment;
DELETE FROM episode;
DROP INDEX idx_episode_run, idx_episode_source, idx_episode_agent, idx_episode_time, idx_episode_conversation;
ALTER TABLE episode
    DROP COLUMN conversation_id, DROP COLUMN part, DROP COLUMN source, DROP COLUMN source_ref, DROP COLUMN importance,
    DROP COLUMN provenance, DROP COLUMN labels, DROP COLUMN entities, DROP COLUMN access_count,
    DROP COLUMN last_access_at, DROP COLUMN stability_days, DROP COLUMN feedback, DROP COLUMN feedback_note,
    DROP COLUMN feedback_by, DROP COLUMN segments, DROP COLUMN bytes, DROP COLUMN created_by;
DROP FUNCTION episode_words(uuid, tsvector);
DROP INDEX idx_agent_execution_remember;
ALTER TABLE agent_execution DROP COLUMN remember_at;
