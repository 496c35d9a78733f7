"""From what somebody copied out of a browser to the addresses of archives. Nothing is resolved, nothing is fetched."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote, urlsplit

from atom.infra.egress_address import MAX_URL_CHARS
from atom.skills.sources.errors import SourceAddressError

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".md")
HEAD = "HEAD"  # the branch that a forge shows first
USUAL = (HEAD, "main", "master")  # for forges that do not know the first one in an address
REF_PARTS = 4  # branches may have slashes: as many parts are tried
GITEA = {"branch", "tag", "commit"}
PART = re.compile(r"[\w.~+-][\w.~+ @=,-]*")
HINT = (
    "Give https://github.com/OWNER/REPOSITORY, with /tree/BRANCH/FOLDER where it has several, or an archive by https."
)


@dataclass(frozen=True, slots=True)
class Archive:
    """`folder` is the one that is asked for in it; empty: whichever has the skill. `ref`: empty where none is known."""

    url: str
    ref: str = ""
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """`url` is what was asked for, without query and fragment. `archives` are tried one after the other.

    `ask` is how one of several folders in it is asked for: `{ref}` and `{folder}` are to be filled in.
    """

    url: str
    archives: tuple[Archive, ...]
    ask: str


def parse(text: str) -> Source:
    """Raises SourceAddressError."""
    parts = _split(text.strip())
    if parts.scheme not in {"https", "http"} or not parts.netloc:
        raise SourceAddressError("This is no address of a skill.", hint=HINT)
    site, path = f"{parts.scheme}://{parts.netloc}", parts.path
    if path.lower().endswith(ARCHIVES) and "/blob/" not in path and "/src/" not in path:
        query = f"?{parts.query}" if parts.query else ""
        archive = Archive(f"{site}{path}{query}", folder=_folder(unquote(parts.fragment).split("/")))
        return Source(f"{site}{path}", (archive,), f"{site}{path}#{{folder}}")
    names = [unquote(part) for part in path.split("/") if part]
    if len(names) < 2 or not all(map(_is_plain, names)):
        raise SourceAddressError("This is neither a repository nor an archive.", hint=HINT)
    return _repository(site, (parts.hostname or "").lower(), names)


def _repository(site: str, host: str, names: list[str]) -> Source:
    url = f"{site}/{_joined(names)}"
    if "-" in names[2:]:  # GitLab, also with groups in groups
        at = names.index("-", 2)
        rest = names[at + 1 :]
        if rest[:1] not in (["tree"], ["blob"]):
            raise SourceAddressError("This is no folder of the repository.", hint=HINT)
        return _gitlab(site, names[:at], rest[1:], url)
    if host.startswith("gitlab."):
        return _gitlab(site, names, [], url)
    owner, repository, *rest = names
    base = f"{site}/{_joined([owner, repository.removesuffix('.git')])}"
    if rest[:1] == ["src"] and rest[1:2] and rest[1] in GITEA:
        return Source(url, _tried(f"{base}/archive/{{ref}}.zip", rest[2:]), f"{base}/src/{rest[1]}/{{ref}}/{{folder}}")
    if rest and rest[0] not in {"tree", "blob"}:
        raise SourceAddressError("This is no folder of the repository.", hint=HINT)
    return Source(url, _tried(f"{base}/archive/{{ref}}.zip", rest[1:], host), f"{base}/tree/{{ref}}/{{folder}}")


def _gitlab(site: str, project: list[str], rest: Sequence[str], url: str) -> Source:
    named = [*project[:-1], project[-1].removesuffix(".git")]
    base = f"{site}/{_joined(named)}/-"
    return Source(url, _tried(f"{base}/archive/{{ref}}/skill.zip", rest), f"{base}/tree/{{ref}}/{{folder}}")


def _tried(template: str, rest: Sequence[str], host: str = "") -> tuple[Archive, ...]:
    """`rest` is a branch and a folder, one behind the other. A file that is named stands for its folder."""
    if rest and rest[-1].lower().endswith(".md"):
        rest = rest[:-1]
    if not rest:
        refs = (HEAD,) if host == "github.com" else USUAL
        return tuple(Archive(template.replace("{ref}", ref), ref) for ref in refs)
    found = []
    for end in range(1, min(len(rest), REF_PARTS) + 1):
        ref = _joined(rest[:end])
        found.append(Archive(template.replace("{ref}", ref), "/".join(rest[:end]), _folder(rest[end:])))
    return tuple(found)


def _folder(parts: Sequence[str]) -> str:
    return "/".join(part for part in parts if part)


def _joined(parts: Sequence[str]) -> str:
    return "/".join(quote(part, safe="") for part in parts)


def _split(text: str) -> SplitResult:
    if len(text) > MAX_URL_CHARS or not text.isprintable() or "\\" in text or " " in text:
        raise SourceAddressError("This is no address of a skill.", hint=HINT)
    try:
        return urlsplit(text)
    except ValueError as error:
        raise SourceAddressError("This is no address of a skill.", hint=HINT) from error


def _is_plain(part: str) -> bool:
    return part not in {".", ".."} and PART.fullmatch(part) is not None
