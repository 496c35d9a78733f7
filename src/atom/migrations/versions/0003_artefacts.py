"""What a run left in its workspace."""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"


def upgrade() -> None:
    cursor = op.get_bind().connection.cursor()
    cursor.execute((SQL / "0003_artefacts.sql").read_text(encoding="utf-8"))
    cursor.close()


def downgrade() -> None:
    op.execute("DROP TABLE run_artefact")
