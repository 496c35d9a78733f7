"""How alembic runs a revision: on the connection of `infra/schema.py`, a transaction for each revision."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=None, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
