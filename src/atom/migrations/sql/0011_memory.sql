-- Episodic memory: what agents went through, verbatim, with what finds it again.
-- Everything is added with a default, so that the release before goes on working on this schema.

-- `source_ref` names what an episode was made of, so that the same thing is remembered once. `part`: a run with a long
-- pause in it is several episodes. `stability_days`: how long it takes until recall of it has become half as likely.
-- `labels`: of everything that stands in it.
ALTER TABLE episode
    ADD COLUMN conversation_id uuid REFERENCES conversation (id),
    ADD COLUMN part integer NOT NULL DEFAULT 0,
    ADD COLUMN source text NOT NULL DEFAULT 'api' CHECK (source IN ('run', 'api', 'import', 'tool')),
    ADD COLUMN source_ref text,
    ADD COLUMN importance double precision NOT NULL DEFAULT 0.5 CHECK (importance BETWEEN 0 AND 1),
    ADD COLUMN provenance jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN labels jsonb NOT NULL DEFAULT '["untrusted"]',
    ADD COLUMN entities text[] NOT NULL DEFAULT '{}',
    ADD COLUMN access_count bigint NOT NULL DEFAULT 0,
    ADD COLUMN last_access_at timestamptz,
    ADD COLUMN stability_days double precision NOT NULL DEFAULT 30 CHECK (stability_days > 0),
    ADD COLUMN feedback double precision CHECK (feedback BETWEEN -1 AND 1),
    ADD COLUMN feedback_note text,
    ADD COLUMN feedback_by text,
    ADD COLUMN segments integer NOT NULL DEFAULT 0,
    ADD COLUMN bytes bigint NOT NULL DEFAULT 0,
    ADD COLUMN created_by text NOT NULL DEFAULT 'system';
CREATE UNIQUE INDEX idx_episode_run ON episode (execution_id, part) WHERE execution_id IS NOT NULL;
CREATE UNIQUE INDEX idx_episode_source ON episode (agent_id, source, source_ref) WHERE source_ref IS NOT NULL;
CREATE INDEX idx_episode_agent ON episode (agent_id, id);
CREATE INDEX idx_episode_time ON episode (agent_id, started_at);
CREATE INDEX idx_episode_conversation ON episode (conversation_id) WHERE conversation_id IS NOT NULL;

-- `position` counts from 0; texts of segments with the same `ref` in a row are one turn that was cut for its length.
-- `terms`: words that count in `lexemes`.
CREATE TABLE episode_segment (
    id uuid PRIMARY KEY,
    episode_id uuid NOT NULL REFERENCES episode (id) ON DELETE CASCADE,
    agent_id uuid NOT NULL,
    position integer NOT NULL,
    kind text NOT NULL CHECK (kind IN ('task', 'message', 'reply', 'call', 'result', 'correction', 'approval', 'note')),
    speaker text NOT NULL,
    ref text NOT NULL,
    text text NOT NULL,
    at timestamptz NOT NULL,
    lexemes tsvector NOT NULL,
    terms integer NOT NULL,
    UNIQUE (episode_id, position)
);

-- Lexemes with the agent in front: one posting list for each word of each agent, so that what others remember costs an
-- agent's recall nothing. The last 12 digits of the id are random; a collision costs a recheck, no more. Without
-- `fastupdate`: what waits to be sorted in is read through by every search.
CREATE FUNCTION episode_words(agent uuid, words tsvector) RETURNS tsvector
    LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT COST 1000
    RETURN array_to_tsvector(ARRAY(SELECT right(agent::text, 12) || ':' || word FROM unnest(tsvector_to_array(words)) AS word));
CREATE INDEX idx_episode_segment_words ON episode_segment USING gin (episode_words(agent_id, lexemes))
    WITH (fastupdate = off);
CREATE INDEX idx_episode_segment_time ON episode_segment (agent_id, at);

-- Segments without a vector of the present model. A row goes with the transaction that stores the vector.
CREATE TABLE episode_unembedded (
    segment_id uuid PRIMARY KEY REFERENCES episode_segment (id) ON DELETE CASCADE,
    leased_until timestamptz NOT NULL DEFAULT 'epoch',
    attempts integer NOT NULL DEFAULT 0
);
CREATE INDEX idx_episode_unembedded_lease ON episode_unembedded (leased_until);

-- Counted with every write, because counting a million rows takes longer than a recall may.
CREATE TABLE episode_tally (
    agent_id uuid NOT NULL,
    storage_tier text NOT NULL,
    episodes bigint NOT NULL,
    segments bigint NOT NULL,
    terms bigint NOT NULL,
    bytes bigint NOT NULL,
    PRIMARY KEY (agent_id, storage_tier)
);

-- When an ended run is to be made an episode of; NULL: it is one.
ALTER TABLE agent_execution ADD COLUMN remember_at timestamptz DEFAULT 'epoch';
CREATE INDEX idx_agent_execution_remember ON agent_execution (remember_at)
    WHERE remember_at IS NOT NULL AND ended_at IS NOT NULL;
