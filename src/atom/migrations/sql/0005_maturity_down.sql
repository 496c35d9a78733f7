DROP TABLE training_session;
DROP TABLE maturity_change;
DROP TABLE evidence;
ALTER TABLE agent DROP COLUMN class_maturity;
