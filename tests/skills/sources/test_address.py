"""What people copy from a browser, and which archives it means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atom.errors import InvalidError
from atom.infra.egress_address import EgressDeniedError, parse_target
from atom.skills.sources.address import Archive, parse
from atom.skills.sources.errors import SourceAddressError

HUB = "https://github.com/o/r"
LAB = "https://gitlab.com/g/s/p"
TEA = "https://codeberg.org/o/r"


@pytest.mark.parametrize(
    ("url", "archives"),
    [
        (HUB, [(f"{HUB}/archive/HEAD.zip", "HEAD", "")]),
        (f"{HUB}.git", [(f"{HUB}/archive/HEAD.zip", "HEAD", "")]),
        (f"{HUB}/", [(f"{HUB}/archive/HEAD.zip", "HEAD", "")]),
        (f"{HUB}/tree/v1.2", [(f"{HUB}/archive/v1.2.zip", "v1.2", "")]),
        (f"{HUB}/tree/main/skills/pdf?tab=readme#top", [
            (f"{HUB}/archive/main.zip", "main", "skills/pdf"), (f"{HUB}/archive/main/skills.zip", "main/skills", "pdf"),
            (f"{HUB}/archive/main/skills/pdf.zip", "main/skills/pdf", "")]),
        (f"{HUB}/blob/main/pdf/SKILL.md", [
            (f"{HUB}/archive/main.zip", "main", "pdf"), (f"{HUB}/archive/main/pdf.zip", "main/pdf", "")]),
        (f"{HUB}/tree/main/a%20b", [
            (f"{HUB}/archive/main.zip", "main", "a b"), (f"{HUB}/archive/main/a%20b.zip", "main/a b", "")]),
        (LAB, [(f"{LAB}/-/archive/{ref}/skill.zip", ref, "") for ref in ("HEAD", "main", "master")]),
        (f"{LAB}/-/tree/dev/a", [
            (f"{LAB}/-/archive/dev/skill.zip", "dev", "a"), (f"{LAB}/-/archive/dev/a/skill.zip", "dev/a", "")]),
        ("https://git.example.com/o/r/-/tree/dev", [
            ("https://git.example.com/o/r/-/archive/dev/skill.zip", "dev", "")]),
        (TEA, [(f"{TEA}/archive/{ref}.zip", ref, "") for ref in ("HEAD", "main", "master")]),
        (f"{TEA}/src/branch/main/a", [
            (f"{TEA}/archive/main.zip", "main", "a"), (f"{TEA}/archive/main/a.zip", "main/a", "")]),
        (f"{TEA}/src/tag/v1", [(f"{TEA}/archive/v1.zip", "v1", "")]),
        ("https://x.example/dl/skill.zip?sig=secret#a/b", [("https://x.example/dl/skill.zip?sig=secret", "", "a/b")]),
        ("https://x.example/skill.tar.gz", [("https://x.example/skill.tar.gz", "", "")]),
    ],
)  # fmt: skip
def test_an_address_means_these_archives(url: str, archives: list[tuple[str, str, str]]) -> None:
    assert parse(url).archives == tuple(Archive(*one) for one in archives)


def test_a_query_is_not_kept_with_the_source() -> None:
    assert "secret" not in parse("https://x.example/dl/skill.zip?sig=secret#a").url


@pytest.mark.parametrize(
    "url",
    [
        "", "skill", "/etc/passwd", "file:///etc/passwd", "ftp://x.example/a.zip", "ssh://git@github.com/o/r",
        "git@github.com:o/r.git", "https://github.com", "https://github.com/o", f"{HUB}/issues/1",
        f"{HUB}/pull/1/files",
        f"{LAB}/-/issues", f"{HUB}/tree/main/../x", f"{HUB}/tree/%2e%2e", f"{HUB}/tree/a%2f..%2fb", f"{HUB} x",
        f"{HUB}\\x", f"{HUB}/tree/x%00", f"{HUB}/tree/\u202e", "https://", "https:///o/r", "x" * 3000,
        "https://github.com/o/r/tree/main/{ref}",
    ],
)  # fmt: skip
def test_other_texts_are_refused(url: str) -> None:
    with pytest.raises(SourceAddressError):
        parse(url)


@given(st.text(max_size=60) | st.from_regex(r"https://[a-z.@:\[\]0-9]{0,20}(/[^ \n]{0,12}){0,6}", fullmatch=True))
def test_any_text_is_understood_or_refused(url: str) -> None:
    try:
        source = parse(url)
        for archive in source.archives:
            parse_target(archive.url)
    except (InvalidError, EgressDeniedError):
        return
    assert 1 <= len(source.archives) <= 4
    for archive in source.archives:
        assert ".." not in archive.folder.split("/") or "#" in url
