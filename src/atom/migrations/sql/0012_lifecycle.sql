-- The life of episodes: bodies that move, rules of each agent, and what is left of what was forgotten.

-- A segment's text is in its row while its episode is hot; of a warm or cold one it is empty there, and in the body.
-- Lexemes and vectors stay where they are.
ALTER TABLE episode ADD COLUMN tier_changed_at timestamptz NOT NULL DEFAULT now();

-- The texts of a warm episode in their order, packed. `sha256` and `unpacked` (bytes) are of what was packed. It is
-- compressed already: the database need not try.
CREATE TABLE episode_body (
    episode_id uuid PRIMARY KEY REFERENCES episode (id) ON DELETE CASCADE,
    codec text NOT NULL CHECK (codec IN ('zstd')),
    body bytea NOT NULL,
    sha256 bytea NOT NULL,
    unpacked bigint NOT NULL
);
ALTER TABLE episode_body ALTER COLUMN body SET STORAGE EXTERNAL;

-- What is different for one agent; NULL: as in the settings, or without end.
CREATE TABLE memory_policy (
    agent_id uuid PRIMARY KEY REFERENCES agent (id),
    decay_days integer CHECK (decay_days BETWEEN 1 AND 3650),
    retention_days integer CHECK (retention_days BETWEEN 1 AND 36500),
    legal_hold boolean NOT NULL DEFAULT false,
    hold_reason text,
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- That there was something, and who had it forgotten: nothing of what stood in it.
CREATE TABLE episode_tombstone (
    episode_id uuid PRIMARY KEY,
    agent_id uuid NOT NULL REFERENCES agent (id),
    execution_id uuid,
    source text NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    segments integer NOT NULL,
    bytes bigint NOT NULL,
    reason text NOT NULL,
    forgotten_by text NOT NULL,
    forgotten_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_episode_tombstone_agent ON episode_tombstone (agent_id, episode_id);
