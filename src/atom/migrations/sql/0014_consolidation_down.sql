-- Refused while there are episodes of a source that the former release does not know.
DO $$
BEGIN
    IF EXISTS (SELECT FROM episode WHERE source = 'consolidation') THEN
        RAISE EXCEPTION 'Episodes are consolidated: split them first (atom episodes split ID).';
    END IF;
END $$;
DROP TABLE episode_link;
ALTER TABLE episode DROP COLUMN kept_apart;
ALTER TABLE episode DROP CONSTRAINT episode_source_check;
ALTER TABLE episode ADD CONSTRAINT episode_source_check CHECK (source IN ('run', 'api', 'import', 'tool'));
