-- What runs have read: labels on runs and on the files they wrote; why a person was asked, in words.

ALTER TABLE agent_execution
    ADD COLUMN labels jsonb NOT NULL DEFAULT '[]', -- of what it has read up to now
    ADD COLUMN origin_labels jsonb NOT NULL DEFAULT '[]', -- of what stands in its task from elsewhere
    ADD COLUMN origin_said text; -- with labels: what whoever ordered it wrote themselves

ALTER TABLE approval ADD COLUMN detail text;

CREATE TABLE content_label (
    agent_id uuid NOT NULL REFERENCES agent (id),
    path text NOT NULL,
    sha256 text NOT NULL,
    labels jsonb NOT NULL,
    execution_id uuid NOT NULL REFERENCES agent_execution (id),
    written_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (agent_id, path)
);

-- Tasks that wait before they become a run keep whose words they are.
ALTER TABLE trigger_firing
    ADD COLUMN origin_labels jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN origin_said text;
ALTER TABLE training_session
    ADD COLUMN origin_labels jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN origin_said text;
