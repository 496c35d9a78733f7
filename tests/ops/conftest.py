"""A PostgreSQL that a test may stop, freeze and break."""

from tests.support.own_postgres import own

__all__ = ["own"]
