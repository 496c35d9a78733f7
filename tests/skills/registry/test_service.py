"""What was consented to is what is used: every rule of the registry, on a real database."""

import asyncio

import pytest
from sqlalchemy.exc import DBAPIError

from atom.errors import AtomError
from atom.governance.models import Maturity, Risk
from atom.infra.db import unit_of_work
from atom.skills.bundle.reading import read_bytes
from atom.skills.registry.access import Access
from atom.skills.registry.errors import (
    SkillConsentError,
    SkillCorruptError,
    SkillFindingsError,
    SkillNameInvalidError,
    SkillNotUsableError,
    SkillStatusError,
    TooManySkillsError,
)
from atom.skills.registry.lock_file import lock_file
from atom.skills.registry.models import Status
from atom.skills.registry.service import Consent
from atom.skills.registry.using import Stored, content
from tests.skills.packing import MANIFEST, tarred, zipped
from tests.skills.registry.conftest import BY, Desk, place, skill
from tests.support.polling import eventually

NETWORK = "    network: api.example.com\n    risk: moderate\n"


async def refused(desk: Desk, *, name: str = "report", agent: str = "worker") -> str:
    with pytest.raises(SkillNotUsableError) as error:
        await desk.usable(name, agent)
    return str(error.value.details["reason"])


async def test_what_is_imported_is_not_used_before_somebody_approved_it(desk: Desk) -> None:
    found = await desk.take(skill())
    assert (found.fresh, found.version.status, found.version.number) == (True, "quarantined", 1)
    assert await refused(desk) == "not_active"
    with pytest.raises(SkillStatusError):
        await desk.do(desk.layer.registry.activate, place(found))
    version = await desk.approve(found)
    assert (version.status, version.approved_by) == ("active", BY)
    usable = await desk.usable()
    assert (usable.digest, usable.number, usable.risk) == (found.version.digest, 1, Risk.CRITICAL)
    assert await desk.decisions() == ["imported", "approved", "activated"]
    told = await desk.rows("SELECT type, data->>'what' FROM event WHERE type ~ '^skill' ORDER BY id")
    assert [tuple(row) for row in told] == [
        ("skill.imported", "imported"), ("skill.changed", "approved"), ("skill.changed", "activated"),
    ]  # fmt: skip


async def test_the_same_content_is_the_same_version_however_it_was_packed(desk: Desk) -> None:
    files = {"SKILL.md": MANIFEST, "a.md": b"A\n"}
    first, again = await desk.take(zipped(files)), await desk.take(tarred(files), "skill.tar")
    assert (first.fresh, again.fresh) == (True, False)
    assert again.version.id == first.version.id
    assert await desk.decisions() == ["imported"]


async def test_one_byte_is_a_new_version_that_is_not_used_until_somebody_consents_to_it(desk: Desk) -> None:
    first = await desk.used(skill())
    changed = await desk.take(skill(files={"scripts/run.py": b"print('oK')\n"}))
    assert (changed.fresh, changed.version.number, changed.version.status) == (True, 2, "quarantined")
    assert (await desk.usable()).digest == first.version.digest
    await desk.approve(changed)
    assert (await desk.usable()).digest == changed.version.digest
    async with unit_of_work(desk.sessions) as session:
        old = await desk.layer.registry.version(session, *place(first))
    assert old.status == Status.APPROVED
    await desk.do(desk.layer.registry.activate, place(first))
    assert (await desk.usable()).digest == first.version.digest


@pytest.mark.parametrize("field", ["digest", "capabilities_digest"])
async def test_consent_to_other_hashes_is_none(desk: Desk, field: str) -> None:
    found = await desk.take(skill(atom=NETWORK))
    other = "sha256:" + "0" * 64
    right = {"digest": found.version.digest, "capabilities_digest": found.version.capabilities_digest}
    with pytest.raises(SkillConsentError) as error:
        await desk.do(desk.layer.registry.approve, place(found), Consent(**{**right, field: other}))
    assert error.value.details["field"] == field
    assert await desk.decisions() == ["imported"]
    assert await refused(desk) == "not_active"


async def test_errors_are_imported_and_never_approved(desk: Desk) -> None:
    found = await desk.take(skill(files={"scripts/run.py": b"def broken(:\n", "x.md": "a\u202eb".encode()}))
    assert found.version.blocking == 2
    with pytest.raises(SkillFindingsError) as error:
        await desk.approve(found)
    assert "script-python (scripts/run.py:1)" in error.value.message
    assert "hidden-bidi (x.md:1)" in error.value.message
    with pytest.raises(DBAPIError, match="check constraint"):  # nor by whoever forgets the rule
        await desk.rows(
            "UPDATE skill_version SET status = 'active', consented = true, approved_by = 'x', approved_at = now()"
            " RETURNING 1"
        )


async def test_an_error_that_importing_mends_does_not_stand_in_the_way(desk: Desk) -> None:
    found = await desk.take(zipped({"SKILL.md": MANIFEST.replace(b"name: good", b"name: Good Skill")}))
    assert found.skill.name == "good-skill"
    assert found.version.counts["error"] > 0
    assert (await desk.approve(found)).status == "active"


async def test_disabled_is_out_of_use_with_the_next_transaction_and_nothing_comes_in_its_place(desk: Desk) -> None:
    first = await desk.used(skill())
    second = await desk.used(skill(text="Do it otherwise."))
    await desk.do(desk.layer.registry.disable, place(second), reason="it reads mail")
    assert await refused(desk) == "not_active"
    await desk.do(desk.layer.registry.disable, place(second), reason="again")
    assert (await desk.decisions()).count("disabled") == 1
    await desk.do(desk.layer.registry.activate, place(first))
    assert (await desk.usable()).digest == first.version.digest


async def test_who_is_using_it_is_waited_for_and_nobody_uses_it_after_that(desk: Desk) -> None:
    found = await desk.used(skill())
    begun, go_on = asyncio.Event(), asyncio.Event()
    order: list[str] = []

    async def user() -> None:
        async with unit_of_work(desk.sessions) as session:
            await desk.layer.use.usable(session, "report", "worker")
            begun.set()
            await go_on.wait()
            order.append("used")

    async def stop() -> None:
        await desk.do(desk.layer.registry.disable, place(found))
        order.append("disabled")

    using = asyncio.create_task(user())
    await begun.wait()
    stopping = asyncio.create_task(stop())
    blocked = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    await eventually(lambda: desk.rows(blocked))
    go_on.set()
    await asyncio.gather(using, stopping)
    assert order == ["used", "disabled"]
    assert await refused(desk) == "not_active"


@pytest.mark.parametrize("status", ["approved", "disabled", "retired"])
async def test_what_somebody_took_out_of_use_by_hand_in_the_database_is_not_used(desk: Desk, status: str) -> None:
    await desk.used(skill())
    await desk.rows(f"UPDATE skill_version SET status = '{status}' RETURNING 1")
    assert await refused(desk) == "not_active"


async def test_retired_is_for_good_also_for_the_same_content_imported_again(desk: Desk) -> None:
    found = await desk.used(skill())
    await desk.do(desk.layer.registry.retire, place(found), reason="malicious")
    assert await refused(desk) == "not_active"
    again = await desk.take(skill())
    assert (again.fresh, again.version.status) == (False, "retired")
    for act in (desk.layer.registry.activate, desk.layer.registry.disable):
        with pytest.raises(SkillStatusError):
            await desk.do(act, place(found))
    with pytest.raises(SkillStatusError):
        await desk.approve(again)
    with pytest.raises(DBAPIError, match="stays retired"):
        await desk.rows("UPDATE skill_version SET status = 'active' RETURNING 1")


@pytest.mark.parametrize(
    "change",
    [
        "body = '\\x00'", "digest = 'sha256:' || repeat('0', 64)", "capabilities = '{}'::jsonb", "blocking = 7",
        "files = '[]'::jsonb", "findings = '[1]'::jsonb", "frontmatter = '{}'::jsonb", "risk = 1",
        "manifest = 'x'", "description = 'x'", "imported_by = 'x'", "approved_by = 'somebody else'",
    ],
)  # fmt: skip
async def test_the_database_itself_keeps_what_was_consented_to(desk: Desk, change: str) -> None:
    await desk.used(skill(atom=NETWORK))
    with pytest.raises(DBAPIError, match=r"never changes|not rewritten"):
        await desk.rows(f"UPDATE skill_version SET {change} RETURNING 1")
    for statement in ("DELETE FROM skill_version RETURNING 1", "TRUNCATE skill_version CASCADE"):
        with pytest.raises(DBAPIError, match="stay"):
            await desk.rows(statement)


@pytest.mark.parametrize(
    ("access", "reason"),
    [
        (Access(agents=["other"]), "agent"),
        (Access(agents=[]), "agent"),
        (Access(lowest_maturity=Maturity.AUTONOMOUS), "maturity"),
        (Access(lowest_maturity=Maturity.INTERN, highest_risk=Risk.LOW), "risk"),
        (Access(lowest_maturity=Maturity.INTERN, highest_risk=Risk.MODERATE), None),
        (Access(agents=["helper"], lowest_maturity=Maturity.SUPERVISED), None),
    ],
)
async def test_who_may_not_use_it_does_not(desk: Desk, access: Access, reason: str | None) -> None:
    for name in ("helper", "other"):
        await desk.agent(name, Maturity.SUPERVISED)
    await desk.used(skill(atom=NETWORK))
    await desk.do(desk.layer.registry.set_access, "report", access)
    if reason is None:
        assert (await desk.usable(agent="HELPER")).risk is Risk.MODERATE
    else:
        assert await refused(desk, agent="helper") == reason


async def test_nobody_has_said_who_may_use_it_then_it_takes_a_supervised_agent(desk: Desk) -> None:
    await desk.agent("young", Maturity.INTERN)
    await desk.used(skill())
    assert await refused(desk, agent="young") == "maturity"


async def test_an_agent_that_does_not_exist_is_given_nothing(desk: Desk) -> None:
    await desk.used(skill())
    with pytest.raises(AtomError) as error:
        await desk.do(desk.layer.registry.set_access, "report", Access(agents=["nobody"]))
    assert error.value.code == "agent_not_found"
    assert (await desk.usable()).name == "report"


@pytest.mark.parametrize("known", [False, True], ids=["a new skill", "a skill that is there"])
async def test_imports_of_the_same_at_once_make_one_version(desk: Desk, known: bool) -> None:
    if known:
        await desk.take(skill(text="Do it otherwise."))
    name, row = await desk.layer.reader.read(skill(), "skill.zip")
    found = await asyncio.gather(*(desk.do(desk.layer.registry.add, name, row) for _ in range(4)))
    assert sorted(one.fresh for one in found) == [False, False, False, True]
    assert len({one.version.id for one in found}) == 1
    assert await desk.decisions() == ["imported"] * (1 + known)


async def test_different_versions_imported_at_once_each_have_a_number(desk: Desk) -> None:
    await desk.take(skill())
    read = [await desk.layer.reader.read(skill(text=f"Do {n}."), "skill.zip") for n in range(4)]
    found = await asyncio.gather(*(desk.do(desk.layer.registry.add, name, row) for name, row in read))
    assert sorted(one.version.number for one in found) == [2, 3, 4, 5]


async def test_of_two_people_who_approve_at_once_one_does(desk: Desk) -> None:
    found = await desk.take(skill())
    done = await asyncio.gather(desk.approve(found), desk.approve(found), return_exceptions=True)
    assert sorted(type(one).__name__ for one in done) == ["SkillStatusError", "SkillVersion"]
    assert await desk.decisions() == ["imported", "approved", "activated"]


async def test_two_versions_approved_at_once_leave_one_in_use(desk: Desk) -> None:
    first, second = await desk.take(skill()), await desk.take(skill(text="Do it otherwise."))
    await asyncio.gather(desk.approve(first), desk.approve(second))
    rows = await desk.rows("SELECT status FROM skill_version ORDER BY status")
    assert [row[0] for row in rows] == ["active", "approved"]
    (current,) = await desk.rows(
        "SELECT v.digest FROM skill s JOIN skill_version v ON v.id = s.current_id AND v.status = 'active'"
    )
    assert (await desk.usable()).digest == current[0]


async def test_disabled_and_activated_at_once_the_skill_is_in_one_state(desk: Desk) -> None:
    found = await desk.used(skill())
    acts = (desk.layer.registry.disable, desk.layer.registry.activate)
    await asyncio.gather(*(desk.do(act, place(found)) for act in acts))
    ((status, current),) = await desk.rows(
        "SELECT v.status, s.current_id FROM skill s JOIN skill_version v ON v.skill_id = s.id"
    )
    assert (status == "active") == (current is not None)


async def test_what_is_used_is_to_the_byte_what_was_imported(desk: Desk) -> None:
    data = skill(files={"scripts/run.py": b"print('ok')\n", "assets/b.bin": bytes(range(256)) * 100, "empty": b""})
    await desk.used(data)
    usable = await desk.usable()
    async with unit_of_work(desk.sessions) as session:
        kept = await content(session, usable)
    bundle, original = await kept.bundle(), read_bytes(data, "skill.zip")
    assert bundle.files == original.files
    assert bundle.digest == usable.digest
    wrong = Stored(kept.packed, kept.manifest, kept.form, "sha256:" + "0" * 64)
    with pytest.raises(SkillCorruptError):
        await wrong.bundle()


async def test_the_lock_file_names_what_is_in_use_and_is_the_same_for_the_same_state(desk: Desk) -> None:
    report = await desk.used(skill(atom=NETWORK))
    await desk.used(skill("alpha"))
    await desk.take(skill("waiting"))
    async with unit_of_work(desk.sessions) as session:
        first = await lock_file(session)
    async with unit_of_work(desk.sessions) as session:
        assert await lock_file(session) == first
    assert [one["name"] for one in first["skills"]] == ["alpha", "report"]
    assert first["skills"][1] == {
        "name": "report", "version": 1, "digest": report.version.digest,
        "capabilities_digest": report.version.capabilities_digest,
        "capabilities": {"network": "api.example.com", "risk": "moderate"},
    }  # fmt: skip


async def test_it_is_compared_with_what_was_approved_last_before_it(desk: Desk) -> None:
    found = [await desk.take(skill(text=f"Do {n}.")) for n in range(4)]
    for one in (found[1], found[0], found[2]):
        await desk.approve(one)
    async with unit_of_work(desk.sessions) as session:
        before = [await desk.layer.registry.approved_before(session, await desk.version(one)) for one in found]
    assert [one and one.number for one in before] == [2, None, 1, 3]


async def test_there_are_not_more_skills_than_a_thousand(desk: Desk) -> None:
    await desk.take(skill())
    await desk.rows(
        "INSERT INTO skill (id, name, lowest_maturity, highest_risk)"
        " SELECT gen_random_uuid(), 's' || n, 'intern', 4 FROM generate_series(1, 999) AS n RETURNING 1"
    )
    with pytest.raises(TooManySkillsError):
        await desk.take(skill("another"))
    assert (await desk.take(skill(text="Do it otherwise."))).version.number == 2


@pytest.mark.parametrize("name", ["lock", "x" * 65, '"..."'])
async def test_a_skill_that_nothing_can_be_called_by_is_not_imported(desk: Desk, name: str) -> None:
    with pytest.raises(SkillNameInvalidError):
        await desk.take(skill(name))
    assert await desk.rows("SELECT 1 FROM skill") == []


async def test_an_import_that_is_rolled_back_leaves_no_trace(desk: Desk) -> None:
    name, row = await desk.layer.reader.read(skill(), "skill.zip")

    async def broken() -> None:
        async with unit_of_work(desk.sessions) as session:
            await desk.layer.registry.add(session, BY, name, row)
            raise RuntimeError("after")

    with pytest.raises(RuntimeError, match="after"):
        await broken()
    for table in ("skill", "skill_version", "event WHERE type ~ '^skill'", "audit_entry WHERE action = 'skill'"):
        assert await desk.rows(f"SELECT 1 FROM {table}") == []


async def test_what_the_scan_is_sure_of_cannot_be_approved(desk: Desk) -> None:
    hostile = b"import base64\nexec(base64.b64decode('cHJpbnQoMSk='))\n"
    found = await desk.take(skill(files={"scripts/run.py": hostile}))
    assert [one["id"] for one in found.version.findings if one["severity"] == "error"] == ["scan-decode-run"]
    assert found.version.counts["error"] == found.version.blocking == 1
    with pytest.raises(SkillFindingsError):
        await desk.approve(found)


async def test_consent_is_to_what_was_seen_as_well(desk: Desk) -> None:
    """Two contents that declare the same and do other things have other capabilities."""
    atom = "    risk: low\n    hosts: [a.example]\n"
    one = await desk.take(skill(atom=atom, files={"scripts/run.py": b"print(1)\n"}))
    two = await desk.take(
        skill(atom=atom, files={"scripts/run.py": b"import requests\nrequests.get('https://b.example')\n"})
    )
    assert (one.version.risk, two.version.risk) == (1, 3)
    assert one.version.capabilities == {"risk": "low", "hosts": ["a.example"]}
    assert two.version.capabilities["seen"]["code"]["hosts"] == ["b.example"]
    consent = Consent(two.version.digest, one.version.capabilities_digest)
    with pytest.raises(SkillConsentError):
        await desk.do(desk.layer.registry.approve, place(two), consent)
