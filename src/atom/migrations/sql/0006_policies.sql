-- Policies, named grants, and what tells every replica that they or an agent have changed.

-- Every apply is a row of its own, never changed. `source` is null in the version that removes the policy.
CREATE TABLE policy (
    name text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
    version integer NOT NULL CHECK (version > 0),
    source text,
    document jsonb,
    applied_by text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, version),
    CHECK ((source IS NULL) = (document IS NULL))
);

-- One row. Its version and the transaction that wrote it (xmin) say which policies are in force: replicas compare both,
-- so that what was read of a transaction that was rolled back is never taken for what came after it.
CREATE TABLE policy_epoch (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    version bigint NOT NULL DEFAULT 1
);
INSERT INTO policy_epoch DEFAULT VALUES;
CREATE FUNCTION policy_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE policy_epoch SET version = version + 1;
    PERFORM pg_notify('atom_governance', 'policies');
    RETURN NULL;
END $$;
CREATE TRIGGER policy_changed AFTER INSERT OR UPDATE OR DELETE ON policy
    FOR EACH STATEMENT EXECUTE FUNCTION policy_changed();

CREATE TABLE action_grant (
    id uuid PRIMARY KEY,
    agent_id uuid NOT NULL REFERENCES agent (id),
    action text NOT NULL,
    reason text NOT NULL,
    granted_by text NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    revoked_by text
);
CREATE UNIQUE INDEX idx_action_grant_standing ON action_grant (agent_id, action) WHERE revoked_at IS NULL;
CREATE INDEX idx_action_grant_agent ON action_grant (agent_id, id);

-- A grant is part of its agent's standing: the agent's row changes with it, so that nobody can know one without the other.
CREATE FUNCTION action_grant_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE agent SET updated_at = now() WHERE id = coalesce(NEW.agent_id, OLD.agent_id);
    RETURN NULL;
END $$;
CREATE TRIGGER action_grant_changed AFTER INSERT OR UPDATE OR DELETE ON action_grant
    FOR EACH ROW EXECUTE FUNCTION action_grant_changed();

CREATE FUNCTION agent_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('atom_governance', 'agent:' || NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER agent_changed AFTER UPDATE ON agent FOR EACH ROW EXECUTE FUNCTION agent_changed();
