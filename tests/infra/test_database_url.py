"""DATABASE_URL is read as it stands, refused with the reason when malformed, and never shown with its password."""

import traceback
from urllib.parse import quote

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr
from sqlalchemy import URL

from atom.infra.database_url import DatabaseUrlError, libpq, parse_database_url

CANARY = "hunter2Canary9XyZ"
GOOD = f"postgresql://atom:{CANARY}@db.example:5432/atom?sslmode=require"


def refusal(text: str) -> str | None:
    """All that a person or a log could see of the refusal; None when the URL is taken."""
    try:
        parse_database_url(SecretStr(text))
    except DatabaseUrlError as error:
        return str(error) + repr(error.details) + "".join(traceback.format_exception(error))
    return None


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_every_part_is_read(scheme: str) -> None:
    url = parse_database_url(SecretStr(f" {scheme}://atom:{CANARY}@db.example:6432/prod?sslmode=require\n"))
    assert (url.drivername, url.host, url.port, url.database) == ("postgresql+psycopg", "db.example", 6432, "prod")
    assert (url.username, url.password, dict(url.query)) == ("atom", CANARY, {"sslmode": "require"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("postgresql://u:p@[::1]:5432/d", {"host": "::1", "port": "5432"}),
        ("postgresql://u:p@[2001:db8::7]/d", {"host": "2001:db8::7"}),
        ("postgresql:///d?host=/var/run/postgresql", {"host": "/var/run/postgresql", "dbname": "d"}),
        ("postgresql://u:p@h/d?sslmode=verify-full&sslrootcert=/etc/ca.pem",
         {"sslmode": "verify-full", "sslrootcert": "/etc/ca.pem"}),
        ("postgresql://u:p@h/d?options=-c%20search_path%3Datom", {"options": "-c search_path=atom"}),
        ("postgresql://u@h/d", {"user": "u", "host": "h"}),
        ("postgresql://u:p@/d?host=a:5432&host=b:5433", {"host": "a,b", "port": "5432,5433"}),
    ],
)  # fmt: skip
def test_address_reaches_libpq_whole(text: str, words: dict[str, str]) -> None:
    found = conninfo_to_dict(libpq(parse_database_url(SecretStr(text))))
    assert {key: str(found.get(key)) for key in words} == words


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=30))
def test_any_password_survives_the_way_to_libpq(password: str) -> None:
    """Spaces too: libpq refuses them in a URL, and says the password in its refusal."""
    url = parse_database_url(SecretStr(f"postgresql://atom:{quote(password, safe='')}@h/d"))
    assert url.password == password
    assert conninfo_to_dict(libpq(url))["password"] == password


@pytest.mark.parametrize("password", ["with space", "p%w", "a'b\\c", 'q"uote', "pl+us", "näh"])
def test_any_password_opens_the_database(database: URL, password: str) -> None:
    with psycopg.connect(libpq(database), autocommit=True) as admin:
        before = str(database.password)
        admin.execute(psycopg.sql.SQL("ALTER ROLE atom PASSWORD {}").format(psycopg.sql.Literal(password)))
        try:
            with psycopg.connect(libpq(database.set(password=password))) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
        finally:
            admin.execute(psycopg.sql.SQL("ALTER ROLE atom PASSWORD {}").format(psycopg.sql.Literal(before)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "cannot be read"),
        ("atom", "cannot be read"),
        (f"atom:{CANARY}@db/atom", "cannot be read"),
        (f"postgresql://atom:{CANARY}db:5432/atom", "cannot be read"),
        (f"postgresql://atom:{CANARY}@db:fivefour/atom", "check the port"),
        (f"postgresql://atom:{CANARY}@db:/atom", "check the port"),
        (f"postgresql://atom:{CANARY}@db:70000/atom", "70000"),
        (f"postgresql://atom:{CANARY}@db:0/atom", "not between 1 and 65535"),
        (f"postgresql://atom:{CANARY}@db:-1/atom", "not between 1 and 65535"),
        (f"postgresql://atom:{CANARY}@db", "names no database"),
        (f"postgresql://atom:{CANARY}@db/", "names no database"),
        (f"postgresql://atom:{CANARY}@/atom", "names no host"),
        (f"postgresql://atom:{CANARY}@/atom?host=", "names no host"),
        (f"postgresql://atom:p@ss{CANARY}@db/atom", "%40"),
        (f"postgresql://atom:p%00{CANARY}@db/atom", "NUL"),
        (f"mysql://atom:{CANARY}@db/atom", "PostgreSQL only"),
        (f"postgresql+asyncpg://atom:{CANARY}@db/atom", "PostgreSQL only"),
        (f"sqlite:///{CANARY}.db", "PostgreSQL only"),
        (f"{CANARY}://db/atom", "PostgreSQL only"),
        (f"postgresql://atom:{CANARY}@db/atom?sslmod=require", "parameter after the ?"),
        (f"postgresql://atom:{CANARY}@db/atom?{CANARY}=1", "parameter after the ?"),
        (f"postgresql://atom:{CANARY}@db/atom?sslmode=yes", "verify-full"),
    ],
)
def test_malformed_url_is_refused_with_the_reason(text: str, reason: str) -> None:
    said = refusal(text)
    assert said is not None
    assert reason in said
    assert "DATABASE_URL" in said
    assert CANARY not in said


def test_refusal_names_the_variable_it_came_from() -> None:
    with pytest.raises(DatabaseUrlError, match="DATABASE_DIRECT_URL names no database"):
        parse_database_url(SecretStr("postgresql://u@h/"), variable="DATABASE_DIRECT_URL")


@given(st.data())
def test_no_corruption_of_a_url_shows_its_password(data: st.DataObject) -> None:
    """Characters are dropped, doubled or put in anywhere but inside the password."""
    before, after = GOOD.split(CANARY)
    for _ in range(data.draw(st.integers(1, 4))):
        before = data.draw(mangled(before))
        after = data.draw(mangled(after))
    assert CANARY not in (refusal(f"{before}{CANARY}{after}") or "")


@st.composite
def mangled(draw: st.DrawFn, text: str) -> str:
    at = draw(st.integers(0, len(text)))
    middle = draw(
        st.sampled_from(["", "@", ":", "/", "?", "#", "%", " ", "[", "]", "\\", "&", "=", "\n", "é"])
        | st.text(max_size=3)
    )
    return text[:at] + middle + text[at + draw(st.integers(0, 2)) :]


def test_url_does_not_show_its_password_when_printed() -> None:
    url = parse_database_url(SecretStr(GOOD))
    assert CANARY not in str(url) + repr(url)
