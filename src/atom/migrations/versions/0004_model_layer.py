"""The model layer: a vault for keys, routes, budgets, the ledger of attempts, the kill switch."""

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"


def upgrade() -> None:
    _execute("0004_model_layer.sql")


def downgrade() -> None:
    _execute("0004_model_layer_down.sql")


def _execute(name: str) -> None:
    cursor = op.get_bind().connection.cursor()
    cursor.execute((SQL / name).read_text(encoding="utf-8"))
    cursor.close()
