"""Long work over REST: accepted at once, looked at while it goes on, cancelled once."""

from pathlib import Path

from sqlalchemy import URL

from atom.web.server import ServerRole
from atom.web.testing import running_atom, settings_for_tests
from tests.support.planted import with_keys


async def test_a_job_is_accepted_listed_and_cancelled_before_anybody_works_on_it(database: URL, home: Path) -> None:
    async with running_atom(with_keys(settings_for_tests(home)), database, roles=frozenset({ServerRole.WEB})) as atom:
        await atom.agent()
        begun = []
        for _ in range(3):
            answer = await atom.http.post("/api/agents/worker/index")
            assert answer.status_code == 202
            begun.append(answer.json()["job_id"])
            assert answer.json()["status_url"] == f"/api/jobs/{begun[-1]}"
        shown = (await atom.http.get(f"/api/jobs/{begun[-1]}")).json()
        assert (shown["kind"], shown["status"], shown["done"], shown["total"]) == ("workspace_index", "queued", 0, None)
        assert shown["created_by"] == "admin:admin"
        page = (await atom.http.get("/api/jobs?limit=2")).json()
        rest = (await atom.http.get(f"/api/jobs?limit=2&after={page['next']}")).json()
        assert [job["id"] for job in page["items"] + rest["items"]] == begun[::-1]
        assert rest["next"] is None
        cancelled = (await atom.http.post(f"/api/jobs/{begun[0]}/cancel")).json()
        assert (cancelled["status"], cancelled["ended_at"] is not None) == ("cancelled", True)
        again = await atom.http.post(f"/api/jobs/{begun[0]}/cancel")
        assert (again.status_code, again.json()["code"]) == (409, "job_ended")


async def test_what_is_no_job_is_not_found(database: URL, home: Path) -> None:
    async with running_atom(with_keys(settings_for_tests(home)), database) as atom:
        nothing = "01a20a0d-8e88-7117-9c08-46edfd98777f"
        for answer in (
            await atom.http.get(f"/api/jobs/{nothing}"),
            await atom.http.post(f"/api/jobs/{nothing}/cancel"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")
        index = await atom.http.post("/api/agents/nobody/index")
        assert (index.status_code, index.json()["code"]) == (404, "agent_not_found")
        assert (await atom.http.get("/api/jobs")).json() == {"items": [], "next": None}
