"""All that a database or a Redis holds, as text."""

from collections.abc import Iterator
from typing import Any

import psycopg
import redis
from psycopg import sql

SECONDS = 10
TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') ORDER BY 1, 2
"""
OTHERS = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> %s"


def rows_of(url: str) -> Iterator[tuple[str, int, bytes]]:
    """Each table: its name, how many rows, and their values as text. Ends the sessions of everybody else."""
    limits = f"-c statement_timeout={SECONDS}s -c lock_timeout={SECONDS}s"
    with psycopg.connect(url, autocommit=True, options=limits, connect_timeout=SECONDS) as connection:
        connection.execute(OTHERS, (connection.info.backend_pid,))
        for schema, table in connection.execute(TABLES).fetchall():
            query = sql.SQL("COPY (SELECT * FROM {}) TO STDOUT").format(sql.Identifier(schema, table))
            with connection.cursor() as cursor, cursor.copy(query) as copy:
                rows = [bytes(row) for row in copy]
            yield table, len(rows), b"".join(rows).replace(rb"\\", b"\\")  # COPY doubles what is in the value


def everything_in(url: str) -> bytes:
    """Keys and values of Redis, of every type that Atom writes."""
    with redis.Redis.from_url(url, socket_timeout=SECONDS, socket_connect_timeout=SECONDS) as client:
        found = []
        for key in client.scan_iter(count=1000):
            match client.type(key):
                case b"string":
                    value: Any = client.get(key)
                case b"hash":
                    value = client.hgetall(key)
                case b"zset":
                    value = client.zrange(key, 0, -1, withscores=True)
                case b"set":
                    value = client.smembers(key)
                case b"list":
                    value = client.lrange(key, 0, -1)
                case b"none":  # its time was up meanwhile
                    value = b""
                case kind:
                    raise AssertionError(kind)
            found.append(key + b" " + (value if isinstance(value, bytes) else repr(value).encode()))
        return b"\n".join(found)
