"""The foundation: the job queue's tables, then Atom's own."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"
OURS = (
    "skill_execution", "episode", "job", "event", "audit_entry", "approval", "idempotency_key", "llm_call",
    "execution_step", "agent_execution", "conversation", "agent_version", "agent", "api_key", "app_user",
)  # fmt: skip


def upgrade() -> None:
    # A driver connection, because the files hold several statements and literal percent signs.
    cursor = op.get_bind().connection.cursor()
    for name in ("procrastinate-3.10.0.sql", "0001_foundation.sql"):
        cursor.execute((SQL / name).read_text(encoding="utf-8"))
    cursor.close()


def downgrade() -> None:
    for table in OURS:
        op.execute(f"DROP TABLE {table}")  # the names are constants of this file
    op.execute("DROP FUNCTION audit_entry_is_append_only()")
    op.execute("DROP SEQUENCE event_seq")
    op.execute(DROP_QUEUE)


DROP_QUEUE = """
DO $$
DECLARE item record;
BEGIN
    FOR item IN SELECT c.oid::regclass AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relname LIKE 'procrastinate\\_%' AND c.relkind = 'r' AND n.nspname = current_schema()
    LOOP EXECUTE 'DROP TABLE ' || item.name || ' CASCADE'; END LOOP;
    FOR item IN SELECT p.oid::regprocedure AS name FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE p.proname LIKE 'procrastinate\\_%' AND n.nspname = current_schema()
    LOOP EXECUTE 'DROP FUNCTION ' || item.name || ' CASCADE'; END LOOP;
    FOR item IN SELECT t.oid::regtype AS name FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
        WHERE t.typname LIKE 'procrastinate\\_%' AND t.typtype IN ('e', 'c') AND n.nspname = current_schema()
    LOOP EXECUTE 'DROP TYPE ' || item.name || ' CASCADE'; END LOOP;
END $$
"""
