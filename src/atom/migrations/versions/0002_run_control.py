"""Runs that people and other agents steer: priorities, pause, retry, review, runs that belong to a run."""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"


def upgrade() -> None:
    _execute("0002_run_control.sql")


def downgrade() -> None:
    _execute("0002_run_control_down.sql")


def _execute(name: str) -> None:
    cursor = op.get_bind().connection.cursor()
    cursor.execute((SQL / name).read_text(encoding="utf-8"))
    cursor.close()
