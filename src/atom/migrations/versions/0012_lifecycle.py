"""The life of episodes: bodies that move, rules of each agent, and what is left of what was forgotten."""

from pathlib import Path

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"


def upgrade() -> None:
    _execute("0012_lifecycle.sql")


def downgrade() -> None:
    _execute("0012_lifecycle_down.sql")


def _execute(name: str) -> None:
    cursor = op.get_bind().connection.cursor()
    cursor.execute((SQL / name).read_text(encoding="utf-8"))
    cursor.close()
