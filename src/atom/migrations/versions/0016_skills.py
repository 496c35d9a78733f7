"""Skills: imported, approved, used."""

from pathlib import Path

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"


def upgrade() -> None:
    _execute("0016_skills.sql")


def downgrade() -> None:
    _execute("0016_skills_down.sql")


def _execute(name: str) -> None:
    cursor = op.get_bind().connection.cursor()
    cursor.execute((SQL / name).read_text(encoding="utf-8"))
    cursor.close()
