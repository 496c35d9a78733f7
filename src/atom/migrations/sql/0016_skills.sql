-- Skills: what was imported, who approved exactly which bytes, and what may be used.

-- `current_id` is the version in use, if one is. `agents` null: all of them.
CREATE TABLE skill (
    id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (char_length(name) BETWEEN 1 AND 64),
    current_id uuid,
    agents text[] CHECK (cardinality(agents) <= 200),
    lowest_maturity text NOT NULL CHECK (lowest_maturity IN ('student', 'intern', 'supervised', 'autonomous')),
    highest_risk integer NOT NULL CHECK (highest_risk BETWEEN 1 AND 4),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- Content by its hash (`digest`, over paths, executable bits and bytes). `body` is the bundle packed with zstandard,
-- `body_sha256` and `unpacked` (bytes) are of what was packed. `blocking` counts the findings that stand in the way of
-- an approval. `consented`: the version's content was approved; it stays so.
CREATE TABLE skill_version (
    id uuid PRIMARY KEY,
    skill_id uuid NOT NULL REFERENCES skill (id),
    number integer NOT NULL CHECK (number > 0),
    digest text NOT NULL CHECK (digest ~ '^sha256:[0-9a-f]{64}$'),
    body bytea NOT NULL CHECK (octet_length(body) <= 25165824),
    body_sha256 bytea NOT NULL CHECK (octet_length(body_sha256) = 32),
    unpacked bigint NOT NULL CHECK (unpacked BETWEEN 0 AND 25165824),
    form text NOT NULL,
    manifest text NOT NULL,
    files jsonb NOT NULL,
    description text NOT NULL,
    frontmatter jsonb NOT NULL,
    findings jsonb NOT NULL,
    counts jsonb NOT NULL,
    blocking integer NOT NULL CHECK (blocking >= 0),
    capabilities jsonb NOT NULL,
    capabilities_digest text NOT NULL CHECK (capabilities_digest ~ '^sha256:[0-9a-f]{64}$'),
    risk integer NOT NULL CHECK (risk BETWEEN 1 AND 4),
    status text NOT NULL CHECK (status IN ('quarantined', 'approved', 'active', 'disabled', 'retired')),
    imported_by text NOT NULL,
    imported_at timestamptz NOT NULL DEFAULT now(),
    consented boolean NOT NULL DEFAULT false,
    approved_by text,
    approved_at timestamptz,
    disabled_by text,
    disabled_at timestamptz,
    reason text NOT NULL DEFAULT '',
    UNIQUE (skill_id, digest),
    UNIQUE (skill_id, number),
    UNIQUE (skill_id, id),
    CHECK (consented = (approved_by IS NOT NULL) AND consented = (approved_at IS NOT NULL)),
    CHECK (consented OR status IN ('quarantined', 'retired')),
    CHECK (NOT consented OR status <> 'quarantined'),
    CHECK (NOT consented OR blocking = 0)
);
CREATE UNIQUE INDEX idx_skill_version_active ON skill_version (skill_id) WHERE status = 'active';
ALTER TABLE skill ADD FOREIGN KEY (id, current_id) REFERENCES skill_version (skill_id, id);

-- What somebody consented to never becomes something else, and neither does the consent.
CREATE FUNCTION skill_version_is_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'UPDATE' THEN
        RAISE EXCEPTION 'versions of skills stay' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF (NEW.id, NEW.skill_id, NEW.number, NEW.digest, NEW.body, NEW.body_sha256, NEW.unpacked, NEW.form, NEW.manifest,
        NEW.files, NEW.description, NEW.frontmatter, NEW.findings, NEW.counts, NEW.blocking, NEW.capabilities,
        NEW.capabilities_digest, NEW.risk, NEW.imported_by, NEW.imported_at)
       IS DISTINCT FROM
       (OLD.id, OLD.skill_id, OLD.number, OLD.digest, OLD.body, OLD.body_sha256, OLD.unpacked, OLD.form, OLD.manifest,
        OLD.files, OLD.description, OLD.frontmatter, OLD.findings, OLD.counts, OLD.blocking, OLD.capabilities,
        OLD.capabilities_digest, OLD.risk, OLD.imported_by, OLD.imported_at) THEN
        RAISE EXCEPTION 'the content of a version of a skill never changes' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF OLD.consented AND (NEW.consented, NEW.approved_by, NEW.approved_at)
       IS DISTINCT FROM (OLD.consented, OLD.approved_by, OLD.approved_at) THEN
        RAISE EXCEPTION 'an approval of a skill is not rewritten' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF OLD.status = 'retired' AND NEW.status <> 'retired' THEN
        RAISE EXCEPTION 'a retired version of a skill stays retired' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER skill_version_is_immutable BEFORE UPDATE OR DELETE ON skill_version
    FOR EACH ROW EXECUTE FUNCTION skill_version_is_immutable();
CREATE TRIGGER skill_version_is_kept BEFORE TRUNCATE ON skill_version
    FOR EACH STATEMENT EXECUTE FUNCTION skill_version_is_immutable();
