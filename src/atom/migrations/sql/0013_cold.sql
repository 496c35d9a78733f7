-- The cold store: bodies of episodes in objects outside the database, and the work that moves them.

-- One run of a kind of work on memory. `report` grows in the transactions of the work itself, so that it is exact after
-- a crash. `whole`: of everybody's memory; of such runs the last success is asked for.
CREATE TABLE memory_job_run (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    whole boolean NOT NULL DEFAULT true,
    started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    outcome text CHECK (outcome IN ('done', 'failed')),
    report jsonb NOT NULL DEFAULT '{}',
    CHECK ((finished_at IS NULL) = (outcome IS NULL))
);
CREATE INDEX idx_memory_job_run_kind ON memory_job_run (kind, started_at);

-- Who may write to the cold store just now: one runner of the cluster.
CREATE TABLE cold_lease (
    id uuid PRIMARY KEY,
    lease_owner text,
    lease_epoch bigint NOT NULL DEFAULT 0,
    lease_expires_at timestamptz,
    crashes integer NOT NULL DEFAULT 0
);
INSERT INTO cold_lease (id) VALUES ('00000000-0000-0000-0000-00000000c01d');

-- An object of the cold store. It is on record before it is written: what a crash leaves is found by its row.
-- `forgotten`: bodies in it whose keys were destroyed because somebody had them forgotten.
CREATE TABLE cold_object (
    id uuid PRIMARY KEY,
    path text NOT NULL UNIQUE,
    state text NOT NULL CHECK (state IN ('writing', 'stored', 'garbage')),
    size bigint NOT NULL,
    sha256 bytea NOT NULL,
    forgotten integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    state_changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_cold_object_state ON cold_object (state, state_changed_at);

-- Where the body of a cold episode lies: `size` bytes from `start`, encrypted with a key of its own. The row is the only
-- place of the key: with it the body is gone, wherever copies of the object are. `stored_sha256`: of the bytes as they
-- lie there; `sha256` and `unpacked` as in episode_body.
CREATE TABLE episode_cold (
    episode_id uuid PRIMARY KEY REFERENCES episode (id) ON DELETE CASCADE,
    object_id uuid NOT NULL REFERENCES cold_object (id),
    start bigint NOT NULL,
    size bigint NOT NULL,
    key bytea NOT NULL,
    stored_sha256 bytea NOT NULL,
    sha256 bytea NOT NULL,
    unpacked bigint NOT NULL
);
CREATE INDEX idx_episode_cold_object ON episode_cold (object_id);

-- The object that still has the encrypted bytes of what was forgotten, for as long as it is there.
ALTER TABLE episode_tombstone ADD COLUMN cold_object_id uuid;
CREATE INDEX idx_episode_tier_time ON episode (storage_tier, started_at);
