"""API keys over REST: shown once, listed without their secret, revoked by admins."""

from pathlib import Path

from sqlalchemy import URL

from atom.web.testing import running_atom, settings_for_tests
from tests.support.planted import with_keys


async def test_a_key_is_shown_once_and_never_again(database: URL, home: Path) -> None:
    async with running_atom(with_keys(settings_for_tests(home)), database) as atom:
        made = await atom.http.post("/api/tokens", json={"name": "ci", "role": "operator", "expires_in_days": 7})
        assert made.status_code == 201
        body = made.json()
        secret = body["token"].split("_")[3]
        listed = await atom.http.get("/api/tokens")
        assert secret not in listed.text
        assert "hash" not in listed.text
        items = listed.json()["items"]
        assert [item["name"] for item in items] == ["ci", "admin"]
        assert items[0] | {"last_used_at": None} == {name: value for name, value in body.items() if name != "token"}
        events = await atom.atom.parts.base.reader.after(0, limit=100)
        assert secret not in str(events)
        first = await atom.http.get("/api/tokens?limit=1")
        rest = await atom.http.get(f"/api/tokens?limit=1&after={first.json()['next']}")
        assert [page.json()["items"][0]["name"] for page in (first, rest)] == ["ci", "admin"]
        assert rest.json()["next"] is None


async def test_bad_keys_are_refused_by_name_of_the_field(database: URL, home: Path) -> None:
    async with running_atom(with_keys(settings_for_tests(home)), database) as atom:
        for body, field in (
            ({"name": "x", "role": "king"}, "role"),
            ({"name": "", "role": "viewer"}, "name"),
            ({"name": "a\nb", "role": "viewer"}, "name"),
            ({"name": "x", "role": "viewer", "expires_in_days": 0}, "expires_in_days"),
            ({"name": "x", "role": "viewer", "scopes": ["*"]}, "scopes"),
            ({"role": "viewer"}, "name"),
        ):
            answer = await atom.http.post("/api/tokens", json=body)
            assert (answer.status_code, answer.json()["field"]) == (422, field)
        gone = await atom.http.delete("/api/tokens/01a20a0d-8e88-7117-9c08-46edfd98777f")
        assert (gone.status_code, gone.json()["code"]) == (404, "token_not_found")
        assert len((await atom.http.get("/api/tokens")).json()["items"]) == 1
