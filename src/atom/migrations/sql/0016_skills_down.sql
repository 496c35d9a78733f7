-- The release before knows no skills: none of them runs.

ALTER TABLE skill DROP CONSTRAINT skill_id_current_id_fkey;
DROP TABLE skill_version;
DROP TABLE skill;
DROP FUNCTION skill_version_is_immutable();
