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
-- Nobody knows whether these calls were paid for, so they were.
WITH gone AS (
    DELETE FROM budget_reservation WHERE execution_id IS NULL RETURNING budget_id, window_key, amount
), due AS (SELECT budget_id, window_key, sum(amount) AS amount FROM gone GROUP BY budget_id, window_key)
UPDATE budget_use u SET reserved = greatest(u.reserved - due.amount, 0), used = u.used + due.amount FROM due
WHERE u.budget_id = due.budget_id AND u.window_key = due.window_key;
ALTER TABLE budget_reservation ALTER COLUMN execution_id SET NOT NULL;
