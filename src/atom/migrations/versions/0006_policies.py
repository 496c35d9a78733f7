"""Policies, named grants, and what tells every replica that they or an agent have changed."""

from pathlib import Path

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"


def upgrade() -> None:
    _execute("0006_policies.sql")


def downgrade() -> None:
    _execute("0006_policies_down.sql")


def _execute(name: str) -> None:
    cursor = op.get_bind().connection.cursor()
    cursor.execute((SQL / name).read_text(encoding="utf-8"))
    cursor.close()
