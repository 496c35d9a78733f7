-- Labels are forgotten: the release before asks by the table alone.

DROP TABLE content_label;
ALTER TABLE approval DROP COLUMN detail;
ALTER TABLE agent_execution DROP COLUMN origin_said, DROP COLUMN origin_labels, DROP COLUMN labels;
ALTER TABLE trigger_firing DROP COLUMN origin_said, DROP COLUMN origin_labels;
ALTER TABLE training_session DROP COLUMN origin_said, DROP COLUMN origin_labels;
