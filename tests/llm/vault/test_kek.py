"""Where key-encryption keys come from: a file, the environment, a plug-in. A bad one is named, never shown."""

import asyncio
import base64
import contextlib
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from atom.errors import Kind
from atom.infra.db import Sessions
from atom.llm.vault.envelope import Place, seal, unseal
from atom.llm.vault.errors import EnvelopeError, KekInvalidError, VaultLockedError
from atom.llm.vault.kek import MANAGED, KekSource, LocalKek, RemoteKek, parse
from atom.settings import VaultSettings
from tests.support.vaults import KEKS, Replica, secret_of

RAW = bytes.fromhex(KEKS[0])
BASE64 = base64.b64encode(RAW).decode()
PLACE = Place("a", "openai", 1)


def source(home: Path, **values: object) -> KekSource:
    return KekSource(VaultSettings.model_validate(values), home)


def ids(found: KekSource) -> list[str]:
    return [kek.kek_id for kek in found.load()]


@pytest.mark.parametrize("text", [BASE64, KEKS[0], KEKS[0].upper(), f"\n {BASE64}\r\n\n", f"{BASE64}\n"])
def test_a_key_is_read_from_a_file_and_from_the_environment(home: Path, text: str) -> None:
    file = home / "kek"
    file.write_bytes(text.encode())
    expected = [LocalKek(RAW).kek_id]
    assert ids(source(home, kek_file=file)) == expected
    assert ids(source(home, kek=SecretStr(text))) == expected


def test_the_first_of_several_is_the_current_one(home: Path) -> None:
    both = source(home, kek=SecretStr(f"{KEKS[1]},{BASE64}"))
    assert ids(both) == [LocalKek(bytes.fromhex(KEKS[1])).kek_id, LocalKek(RAW).kek_id]
    assert both.managed is None


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """As an operator sets them, and they never show in a repr."""
    from_env = VaultSettings(kek=SecretStr(BASE64))
    assert BASE64 not in repr(from_env) + str(from_env) + repr(KekSource(from_env, home))
    assert KekSource(from_env, home).name == "ATOM_VAULT__KEK"


BAD = {
    "empty": "",
    "blank": "\n \n",
    "short": base64.b64encode(RAW[:31]).decode(),
    "long": base64.b64encode(RAW + b"x").decode(),
    "a sentence": "correct horse battery staple, and so on",
    "hex of 16 bytes": KEKS[0][:32],
    "one byte only": base64.b64encode(b"\x00" * 32).decode(),
    "a pattern": base64.b64encode(b"abcd" * 8).decode(),
    "broken base64": BASE64[:-2] + "!=",
    "url-safe base64": base64.urlsafe_b64encode(b"\xff\xfe" * 16).decode(),
    "the same twice": f"{BASE64}\n{KEKS[0]}",
    "a good one and a bad one": f"{BASE64}\nhunter2-hunter2-hunter2",
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_bad_key_is_named_by_its_place_and_not_shown(home: Path, name: str) -> None:
    file = home / "kek"
    file.write_text(BAD[name])
    for found, place in (
        (source(home, kek_file=file), str(file)),
        (source(home, kek=SecretStr(BAD[name] or " ")), "ATOM_VAULT__KEK"),
    ):
        with pytest.raises(KekInvalidError) as caught:
            found.load()
        error = caught.value
        said = str(error) + repr(error.details) + "".join(traceback.format_exception(error))
        assert error.message.startswith(place)
        assert "openssl rand -base64 32" in error.hint
        assert (error.code, error.kind) == ("kek_invalid", Kind.UNAVAILABLE), "the caller of the API is not at fault"
        assert [word for word in BAD[name].split() if len(word) > 8 and word in said] == []


@pytest.mark.parametrize("content", [b"\xff\xfe" * 32, RAW])
def test_a_file_of_bytes_is_refused(home: Path, content: bytes) -> None:
    (home / "kek").write_bytes(content)
    with pytest.raises(KekInvalidError, match=r"kek cannot be read \(UnicodeDecodeError\)|kek, key 1"):
        source(home, kek_file=home / "kek").load()


def test_a_file_that_is_not_there_and_one_that_is_a_folder(home: Path) -> None:
    with pytest.raises(VaultLockedError, match=r"The vault's key is not at .*nowhere") as caught:
        source(home, kek_file=home / "nowhere").load()
    assert caught.value.code == "vault_locked"
    with pytest.raises(KekInvalidError, match=r"cannot be read \(IsADirectoryError\)"):
        source(home, kek_file=home).load()


def test_only_the_managed_file_is_extended(home: Path) -> None:
    given_ = source(home, kek_file=home / "kek")
    with pytest.raises(KekInvalidError, match="Put the new key first there"):
        given_.extend()
    assert list(home.iterdir()) == []
    managed = source(home)
    for number in range(1, 4):
        managed.extend()
        assert len(set(ids(managed))) == number
    assert managed.managed == home / MANAGED


@given(
    keys=st.lists(st.binary(min_size=32, max_size=32).filter(lambda raw: len(set(raw)) >= 8), unique=True, min_size=1)
)
def test_keys_are_read_as_they_are_written(keys: list[bytes]) -> None:
    lines = [raw.hex() if number % 2 else base64.b64encode(raw).decode() for number, raw in enumerate(keys)]
    assert [kek.key for kek in parse("\n".join(lines), "here")] == keys


@given(text=st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(KekInvalidError):
        assert parse(text, "here")


# A key management service, as somebody else would plug it in: a package with an entry point of the group atom.kms.
PLUGIN = '''
import asyncio
from pathlib import Path
from atom.llm.vault.kek import LocalKek

STATE = Path(__file__).with_name("state")


class Remote:
    """Wraps at a service; `state` says how that is today."""

    kek_id = "kms:test/1"

    def __init__(self):
        self.inside = LocalKek(bytes(range(32)))

    async def wrap(self, data_key, bound):
        return await self.ask(self.inside.wrap(data_key, bound))

    async def unwrap(self, wrapped, bound):
        return await self.ask(self.inside.unwrap(wrapped, bound))

    async def ask(self, asking):
        state = STATE.read_text()
        if state == "silent":
            asking.close()
            await asyncio.sleep(600)
        if state == "away":
            asking.close()
            raise ConnectionRefusedError("sk-canary at 10.0.0.1 refused")
        return await asking


def keys():
    state = STATE.read_text()
    if state == "down":
        raise ConnectionResetError("sk-canary")
    return [] if state == "empty" else [Remote()]
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """The package is installed; what is called with a word sets how its service is."""
    info = tmp_path / "atom_kms_test-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: atom-kms-test\nVersion: 1.0\n")
    entries = ("test = atom_kms_test:keys", "broken = atom_kms_test:nothing", "gone = atom_kms_gone:keys")
    (info / "entry_points.txt").write_text("[atom.kms]\n" + "\n".join(entries) + "\n")
    (tmp_path / "atom_kms_test.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "state").write_text("well")

    def become(state: str) -> None:
        (tmp_path / "state").write_text(state)

    yield become
    sys.modules.pop("atom_kms_test", None)


async def test_a_plugin_seals_and_opens(plugin: Callable[[str], None], sessions: Sessions, home: Path) -> None:
    replica = Replica(sessions, home, VaultSettings(kms="test"))
    await replica.add("a")
    assert await replica.opened("a") == secret_of("a")
    assert await replica.wrapped_by() == {"kms:test/1"}
    assert list(home.iterdir()) == [], "no key of ours lies about"
    (kek,) = source(home, kms="test").load()
    envelope = await seal(kek, PLACE, b"secret")
    with pytest.raises(EnvelopeError):
        await unseal(kek, Place("b", "openai", 1), envelope)


async def test_a_plugin_whose_service_is_away_locks_the_vault_and_opens_it_again(
    plugin: Callable[[str], None], sessions: Sessions, home: Path
) -> None:
    replica = Replica(sessions, home, VaultSettings(kms="test"))
    await replica.add("a")
    for state in ("away", "down", "empty"):
        plugin(state)
        for call in (replica.add("b"), Replica(sessions, home, replica.vault).opened("a")):
            with pytest.raises(VaultLockedError, match="The plug-in test") as caught:
                await call
            said = str(caught.value) + "".join(traceback.format_exception(caught.value))
            assert "10.0.0.1" not in said
            assert "sk-canary" not in said
    plugin("well")
    assert await replica.opened("a") == secret_of("a")


async def test_a_plugin_that_does_not_answer_is_not_waited_for(
    plugin: Callable[[str], None], sessions: Sessions, home: Path
) -> None:
    plugin("silent")
    (kek,) = source(home, kms="test").load()
    assert isinstance(kek, RemoteKek)
    assert kek.seconds <= 5
    async with asyncio.timeout(3):
        with pytest.raises(VaultLockedError, match=r"does not answer \(TimeoutError\)"):
            await seal(replace(kek, seconds=0.2), PLACE, b"secret")


@pytest.mark.parametrize(("name", "said"), [("broken", "cannot be loaded"), ("gone", "cannot be loaded")])
def test_a_broken_plugin_is_said(plugin: Callable[[str], None], home: Path, name: str, said: str) -> None:
    with pytest.raises(KekInvalidError, match=said):
        source(home, kms=name).load()


def test_an_unknown_plugin_is_said_with_those_there_are(plugin: Callable[[str], None], home: Path) -> None:
    with pytest.raises(KekInvalidError) as caught:
        source(home, kms="vault9").load()
    assert "'vault9'" in caught.value.message
    assert "broken, gone, test" in caught.value.hint
