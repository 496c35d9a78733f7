DROP TABLE run_note;
DROP TABLE operator_presence;
DROP TABLE proposal;
DROP TABLE trigger_firing;
DROP TABLE trigger;
