"""Fetching a skill by the one way out: no git, no program, nothing on a disk."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from atom.infra.egress import EgressClient, EgressLimits, EgressReply, open_egress
from atom.infra.egress_address import parse_target
from atom.infra.egress_policy import EgressPolicy, Zone
from atom.settings import SkillSettings
from atom.skills.bundle.limits import LIMITS
from atom.skills.bundle.models import Bundle
from atom.skills.bundle.repository import SeveralSkillsError, read_repository
from atom.skills.sources.address import Archive, Source, parse
from atom.skills.sources.errors import SourceAddressError, SourceAmbiguousError, SourceFailedError, SourceNotFoundError

SETTING = "ATOM_SKILLS__IMPORT_ALLOW"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a skill came from. `url` is what was asked for; `archive` is where it was found in the end, without its
    query; `ref` and `commit` as far as they are known, `folder` inside of it."""

    url: str
    archive: str
    ref: str
    commit: str
    folder: str

    def plain(self) -> Mapping[str, str]:
        return {
            "url": self.url,
            "archive": self.archive,
            "ref": self.ref,
            "commit": self.commit,
            "folder": self.folder,
        }


@dataclass(frozen=True, slots=True)
class Fetched:
    """An archive as it came, not looked into yet."""

    source: Source
    archive: Archive
    reply: EgressReply

    async def bundle(self) -> tuple[Bundle, Origin]:
        """Raises BundleError, SourceAmbiguousError."""
        return await asyncio.to_thread(self._bundle)

    def _bundle(self) -> tuple[Bundle, Origin]:
        final = self.reply.url.partition("?")[0].partition("#")[0]
        try:
            found = read_repository(self.reply.body, urlsplit(self.archive.url).path, self.archive.folder)
        except SeveralSkillsError as error:
            ref = self.archive.ref
            ask = [self.source.ask.replace("{ref}", ref).replace("{folder}", folder) for folder in error.folders]
            raise SourceAmbiguousError(error.folders, ask) from error
        return found.bundle, Origin(self.source.url, final, self.archive.ref, found.commit, found.folder)


@dataclass(frozen=True, slots=True)
class Sources:
    egress: EgressClient

    async def fetch(self, url: str) -> Fetched:
        """The first of the archives that an address can mean. Raises SourceAddressError, SourceNotFoundError,
        SourceFailedError, and what the egress client raises."""
        source = parse(url)
        for archive in source.archives:
            self._check(archive.url)
            reply = await self.egress.get(archive.url)
            if reply.status == HTTPStatus.OK:
                return Fetched(source, archive, reply)
            if reply.status not in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
                raise SourceFailedError(source.url, reply.status)
        raise SourceNotFoundError(source.url)

    def _check(self, url: str) -> None:
        """https, or an inner host that the deployment names: nobody on the way may change a skill."""
        target = parse_target(url)
        if self.egress.policy.zone(target) is Zone.PUBLIC and target.scheme != "https":
            raise SourceAddressError("Skills come by https only.", hint=f"{SETTING} opens inner hosts.")


def open_sources(settings: SkillSettings) -> Sources:
    """Raises EgressRuleError for an entry of import_allow that is wrong."""
    policy = EgressPolicy.parse(settings.import_allow, setting=SETTING)
    return Sources(open_egress(policy, EgressLimits(settings.import_seconds, LIMITS.packed_bytes)))
