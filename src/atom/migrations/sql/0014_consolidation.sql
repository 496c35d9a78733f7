-- Consolidation: several episodes have one that sums them up. They stay, word for word, and it links to each of them.

ALTER TABLE episode DROP CONSTRAINT episode_source_check;
ALTER TABLE episode ADD CONSTRAINT episode_source_check
    CHECK (source IN ('run', 'api', 'import', 'tool', 'consolidation'));

-- Somebody has split what it was summed up in: it is left as it is from then on.
ALTER TABLE episode ADD COLUMN kept_apart boolean NOT NULL DEFAULT false;

-- An episode is summed up once. A source cannot be deleted while it is linked: its words are in the other one, which
-- has to go first.
CREATE TABLE episode_link (
    source_id uuid PRIMARY KEY REFERENCES episode (id) ON DELETE RESTRICT,
    consolidated_id uuid NOT NULL REFERENCES episode (id) ON DELETE CASCADE,
    position integer NOT NULL,
    UNIQUE (consolidated_id, position)
);

-- A model may be asked outside of any run, within the same budgets.
ALTER TABLE budget_reservation ALTER COLUMN execution_id DROP NOT NULL;
