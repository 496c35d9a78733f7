-- What a run left in its workspace: path, size and digest of each file that its calls wrote.

CREATE TABLE run_artefact (
    execution_id uuid NOT NULL REFERENCES agent_execution (id),
    path text NOT NULL,
    bytes bigint NOT NULL,
    sha256 text NOT NULL,
    step_key text NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (execution_id, path)
);
