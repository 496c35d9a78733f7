-- The audit chain: every entry is linked to the one before it, in the transaction that writes it. A link is a row of
-- its own, so that an entry is written once and never again.

CREATE TABLE audit_link (
    seq bigint PRIMARY KEY CHECK (seq > 0),
    entry_id uuid NOT NULL UNIQUE,
    prev_hash bytea NOT NULL CHECK (octet_length(prev_hash) = 32),
    hash bytea NOT NULL CHECK (octet_length(hash) = 32)
);

-- One spelling for one value: keys by code point, no spaces, numbers in plain decimal without trailing zeros.
-- atom.governance.audit.canonical spells the same, byte for byte.
CREATE FUNCTION audit_canonical(value jsonb) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    CASE jsonb_typeof(value)
    WHEN 'object' THEN
        RETURN '{' || coalesce((
            SELECT string_agg(
                to_json(pair.key)::text || ':' || audit_canonical(pair.value), ',' ORDER BY pair.key COLLATE "C")
            FROM jsonb_each(value) AS pair
        ), '') || '}';
    WHEN 'array' THEN
        RETURN '[' || coalesce((
            SELECT string_agg(audit_canonical(item.value), ',' ORDER BY item.ordinality)
            FROM jsonb_array_elements(value) WITH ORDINALITY AS item
        ), '') || ']';
    WHEN 'number' THEN
        RETURN trim_scale(value::numeric)::text;
    ELSE
        RETURN value::text;
    END CASE;
END $$;

-- The canonical form of an entry up to its place in the chain: `,"seq":7,"v":1}` completes it.
CREATE FUNCTION audit_body(entry audit_entry) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN '{"action":' || to_json(entry.action)::text
        || ',"actor":' || to_json(entry.actor)::text
        || ',"agent_id":' || coalesce('"' || entry.agent_id::text || '"', 'null')
        || ',"at":"' || coalesce(to_char(entry.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '') || '"'
        || ',"data":' || audit_canonical(entry.data)
        || ',"decision":' || to_json(entry.decision)::text
        || ',"id":"' || entry.id::text || '"'
        || ',"reason":' || to_json(entry.reason)::text
        || ',"run_id":' || coalesce('"' || entry.run_id::text || '"', 'null');
END $$;

-- One writer at a time from here to its commit. What costs time is done before the lock is asked for.
CREATE FUNCTION audit_link_add(entry audit_entry) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    body text := audit_body(entry);
    place bigint;
    before bytea;
BEGIN
    PERFORM pg_advisory_xact_lock(x'41544F4D0006'::bigint);
    SELECT seq, hash INTO place, before FROM audit_link ORDER BY seq DESC LIMIT 1;
    place := coalesce(place, 0) + 1;
    before := coalesce(before, decode(repeat('00', 32), 'hex'));
    INSERT INTO audit_link (seq, entry_id, prev_hash, hash) VALUES (
        place, entry.id, before, sha256(before || convert_to(body || ',"seq":' || place || ',"v":1}', 'UTF8'))
    );
END $$;

-- What was written before there was a chain. Nothing is added meanwhile.
LOCK TABLE audit_entry IN SHARE ROW EXCLUSIVE MODE;
DO $$
DECLARE
    entry audit_entry;
BEGIN
    FOR entry IN SELECT * FROM audit_entry ORDER BY at, id LOOP
        PERFORM audit_link_add(entry);
    END LOOP;
END $$;

-- Deferred: it runs at COMMIT, so that the lock is held for the commit alone and the chain has the order of commits.
CREATE FUNCTION audit_entry_chain() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit_link_add(NEW);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER audit_entry_chained AFTER INSERT ON audit_entry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_entry_chain();

CREATE FUNCTION audit_link_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' AND pg_trigger_depth() > 1 THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'audit_link is append-only, and only audit_entry''s own trigger adds to it'
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_link_append_only BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON audit_link
    FOR EACH STATEMENT EXECUTE FUNCTION audit_link_is_append_only();
ALTER TABLE audit_link ENABLE ALWAYS TRIGGER audit_link_append_only; -- also where session_replication_role says replica
ALTER TABLE audit_entry ENABLE ALWAYS TRIGGER audit_entry_append_only;

CREATE INDEX idx_audit_entry_actor ON audit_entry (actor, id);
CREATE INDEX idx_audit_entry_agent ON audit_entry (agent_id, id);
