"""Archives and texts that are out to do harm, each with the problem that must be named."""

import random
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from functools import cache

import zstandard

from tests.skills.packing import (
    MANIFEST,
    SQUEEZED,
    bomb_zip,
    entry,
    header,
    overlapping_zip,
    padded,
    patched,
    raw_tar,
    renamed,
    tar_of,
    unix,
    zip_of,
    zipped,
)

MB = 1024 * 1024
GOOD = ("x.txt", b"x")


def _zip_named(name: str) -> Callable[[], bytes]:
    return lambda: zip_of((name, b"x"))


def _tar_named(name: str) -> Callable[[], bytes]:
    return lambda: tar_of((entry(name, size=1), b"x"))


def _tar_kind(kind: bytes, link: str = "") -> Callable[[], bytes]:
    return lambda: tar_of((entry("member", kind, link=link), b""))


def _zip_kind(kind: int) -> Callable[[], bytes]:
    return lambda: zip_of((unix("member", kind | 0o644), b"/etc/passwd"))


def _squeezed(form: str, data: Callable[[], bytes]) -> Callable[[], bytes]:
    return lambda: SQUEEZED[form](data())


def _zip_flag(flag: int) -> bytes:
    return patched(zip_of(GOOD), directory={8: ("<H", flag)}, local={6: ("<H", flag)})


def _encrypted() -> bytes:
    return _zip_flag(1)


def _big_tar(size: int) -> bytes:
    return tar_of((entry("assets/zeros.bin", size=size), bytes(size)))


def _sparse() -> bytes:
    block = bytearray(header(b"holes", b"S", b"00000001000\0"))
    block[257:265] = b"ustar  \0"
    block[386:398], block[398:410] = b"00000000000\0", b"00000001000\0"
    block[483:495] = b"77777777777\0"  # 8 GB when it is unpacked
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return raw_tar(bytes(block), bytes(512))


def _pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    data = b""
    for key, value in records:
        rest = b" " + key + b"=" + value + b"\n"
        length = len(rest) + len(b"%d" % len(rest))
        length = len(rest) + len(b"%d" % length)
        data += b"%d" % length + rest
    return raw_tar(header(b"pax", kind, b"%011o\0" % len(data)), padded(data), header(b"x.txt", b"0", b"00000000001\0"),
                   padded(b"x"))  # fmt: skip


def _two_names() -> bytes:
    info = zipfile.ZipInfo("harmless.txt")
    info.extra = b"\x75\x70" + (5 + 9).to_bytes(2, "little") + b"\x01" + bytes(4) + b"other.txt"
    return zip_of((info, b"x"))


def _directory_with_content() -> bytes:
    return renamed(zip_of(("folder_", b"hidden")), b"folder_", b"folder/")


def _long_names() -> bytes:
    """A chain of headers for long names: a walk that recurses falls over it."""
    return raw_tar(
        *([header(b"l", b"L", b"00000000002\0"), padded(b"a\0")] * 5000), header(b"x", b"2", b"00000000000\0")
    )


def _masked_local_name() -> bytes:
    data = zip_of(("visible.txt", b"x"))
    at = data.index(b"visible.txt")
    return data[:at] + b"another.txt" + data[at + 11 :]


def _truncated() -> bytes:
    return zipped()[:-30]


def _wrong_crc() -> bytes:
    return patched(zip_of(GOOD), directory={16: ("<L", 1)}, local={14: ("<L", 1)})


def _says_less() -> bytes:
    return patched(bomb_zip(MB), directory={24: ("<L", 10)}, local={22: ("<L", 10)})


def _says_more() -> bytes:
    return patched(zip_of(GOOD), directory={24: ("<L", 1000)}, local={22: ("<L", 1000)})


def _zip64_size() -> bytes:
    return patched(zip_of(GOOD), directory={24: ("<L", 0xFFFFFFFF)}, local={22: ("<L", 0xFFFFFFFF)})


def _many(count: int) -> bytes:
    return zip_of(*((f"assets/{number}.txt", b"") for number in range(count)))


def _many_folders(count: int) -> bytes:
    return tar_of(*((entry(f"d{number}", tarfile.DIRTYPE), b"") for number in range(count)))


def _xz_memory() -> bytes:
    """An xz whose header asks for 4 GB to unpack it."""
    data = bytearray(SQUEEZED["xz"](tar_of()))
    size = (data[12] + 1) * 4
    data[data.index(b"\x21\x01", 12, 12 + size) + 2] = 40
    data[12 + size - 4 : 12 + size] = zlib.crc32(data[12 : 12 + size - 4]).to_bytes(4, "little")
    return bytes(data)


def _zstandard_memory() -> bytes:
    """A zstandard frame that asks for a window of 2 GB."""
    packer = zstandard.ZstdCompressor().compressobj()
    data = bytearray(packer.compress(tar_of()) + packer.flush())
    data[5] = (31 - 10) << 3
    return bytes(data)


@cache
def _noise(size: int) -> bytes:
    """Bytes that do not pack: a ratio must not be what refuses them."""
    return random.Random(7).randbytes(size)


def _lzma_zip() -> bytes:
    return zipped({"SKILL.md": MANIFEST}, method=zipfile.ZIP_LZMA)


def _stored_in_front() -> bytes:
    inner = zipped()
    return b"PK\x03\x04" + b"#" * 60 + inner


# What it is: (how it is made, the problem that is named).
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "zip: parent": (_zip_named("../evil.txt"), "parent_name"),
    "zip: parent inside": (_zip_named("a/../../evil.txt"), "parent_name"),
    "zip: parent at the end": (_zip_named("a/.."), "parent_name"),
    "zip: absolute": (_zip_named("/etc/cron.d/evil"), "absolute_name"),
    "zip: two slashes": (_zip_named("//server/share/evil"), "absolute_name"),
    "zip: drive": (_zip_named("C:/evil.txt"), "absolute_name"),
    "zip: drive without slash": (_zip_named("c:evil.txt"), "absolute_name"),
    "zip: backslash parent": (_zip_named("..\\..\\evil.txt"), "backslash_name"),
    "zip: backslash": (_zip_named("scripts\\run.py"), "backslash_name"),
    "zip: NUL": (lambda: renamed(zip_of(("good.txt_evil", b"x")), b"good.txt_evil", b"good.txt\0evil"),
                 "hidden_characters_name"),
    "zip: control character": (_zip_named("a\x1b[2Jb.txt"), "hidden_characters_name"),
    "zip: line end": (_zip_named("a\nb.txt"), "hidden_characters_name"),
    "zip: carriage return": (_zip_named("a\rb.txt"), "hidden_characters_name"),
    "zip: tab": (_zip_named("a\tb.txt"), "hidden_characters_name"),
    "zip: right-to-left override": (_zip_named("a\u202etxt.py"), "hidden_characters_name"),
    "zip: zero width": (_zip_named("SKILL\u200b.md"), "hidden_characters_name"),
    "zip: tag characters": (_zip_named("a\U000e0041.md"), "hidden_characters_name"),
    "zip: line separator": (_zip_named("a\u2028b.md"), "hidden_characters_name"),
    "zip: name twice": (lambda: zip_of(GOOD, GOOD), "duplicate_name"),
    "zip: SKILL.md twice": (lambda: zip_of(("SKILL.md", b"other")), "duplicate_name"),
    "zip: name twice by ./": (lambda: zip_of(GOOD, ("./x.txt", b"y")), "duplicate_name"),
    "zip: case": (lambda: zip_of(("Skill.md", b"other")), "case_collision"),
    "zip: case of a folder": (lambda: zip_of(("scripts/a.py", b""), ("Scripts/b.py", b"")), "case_collision"),
    "zip: forms of Unicode": (lambda: zip_of(("caf\u00e9.md", b""), ("cafe\u0301.md", b"")), "case_collision"),
    "zip: sharp s": (lambda: zip_of(("stra\u00dfe.md", b""), ("strasse.md", b"")), "case_collision"),
    "zip: full width": (lambda: zip_of(("\uff53cripts.md", b""), ("scripts.md", b"")), "case_collision"),
    "zip: file and folder": (lambda: zip_of(("a", b""), ("a/b", b"")), "duplicate_name"),
    "zip: folder and file": (lambda: zip_of(("a/b", b""), ("a", b"")), "duplicate_name"),
    "zip: symbolic link": (_zip_kind(stat.S_IFLNK), "symlink"),
    "zip: device": (_zip_kind(stat.S_IFCHR), "special_file"),
    "zip: block device": (_zip_kind(stat.S_IFBLK), "special_file"),
    "zip: pipe": (_zip_kind(stat.S_IFIFO), "special_file"),
    "zip: socket": (_zip_kind(stat.S_IFSOCK), "special_file"),
    "zip: folder that is a file": (_zip_kind(stat.S_IFDIR), "folder_with_content"),
    "zip: folder with content": (_directory_with_content, "folder_with_content"),
    "zip: encrypted": (_encrypted, "encrypted"),
    "zip: strongly encrypted": (lambda: _zip_flag(0x41), "encrypted"),
    "zip: masked directory": (lambda: _zip_flag(0x2000), "encrypted"),
    "zip: unknown method": (lambda: patched(zip_of(GOOD), directory={10: ("<H", 99)}, local={8: ("<H", 99)}), "method"),
    "zip: lzma": (_lzma_zip, "method"),
    "zip: bomb": (lambda: bomb_zip(10 * MB), "ratio"),
    "zip: bomb of many": (lambda: zip_of(*((f"z{n}", bytes(MB)) for n in range(50))), "ratio"),
    "zip: bomb that says it is small": (_says_less, "broken"),
    "zip: says more than there is": (_says_more, "wrong_size"),
    "zip: says 4 GB": (_zip64_size, "wrong_size"),
    "zip: overlapping members": (lambda: overlapping_zip(400, MB), "overlap"),
    "zip: wrong checksum": (_wrong_crc, "broken"),
    "zip: two names": (_two_names, "two_names"),
    "zip: other name in the member": (_masked_local_name, "broken"),
    "zip: cut off": (_truncated, "broken"),
    "zip: data in front": (_stored_in_front, "leading_data"),
    "zip: 501 files": (lambda: _many(500), "too_many_files"),
    "zip: a directory of thousands": (lambda: overlapping_zip(30_000, 10), "too_many_files"),
    "zip: 21 MB": (lambda: zip_of(("assets/noise.bin", _noise(20 * MB))), "too_many_bytes"),
    "zip: deep": (_zip_named("/".join(["a"] * 30)), "long_name"),
    "zip: long name": (_zip_named("a" * 300), "long_name"),
    "zip: long path": (_zip_named("/".join(["a" * 200] * 8)), "long_name"),
    "zip: nothing in it": (lambda: b"PK\x05\x06" + bytes(18), "no_manifest"),
    "zip: no SKILL.md": (lambda: zipped({"README.md": b"x"}), "no_manifest"),
    "zip: several skills": (lambda: zipped({"a/SKILL.md": MANIFEST, "b/SKILL.md": MANIFEST}), "no_manifest"),
    "zip: SKILL.md two folders down": (lambda: zipped({"a/b/SKILL.md": MANIFEST}), "no_manifest"),
    "zip: empty SKILL.md": (lambda: zipped({"SKILL.md": b" \n"}), "empty"),
    "zip: SKILL.md that is no text": (lambda: zipped({"SKILL.md": bytes(range(128, 256)) * 9}), "no_text"),
    "zip: SKILL.md that is broken UTF-16": (lambda: zipped({"SKILL.md": b"\xff\xfe\x00\xd8"}), "no_text"),
    "tar: parent": (_tar_named("../evil.txt"), "parent_name"),
    "tar: parent inside": (_tar_named("a/b/../../../evil.txt"), "parent_name"),
    "tar: absolute": (_tar_named("/tmp/evil.txt"), "absolute_name"),
    "tar: backslash": (_tar_named("..\\evil.txt"), "backslash_name"),
    "tar: long name that leads out": (_tar_named("../" * 60 + "evil.txt"), "parent_name"),
    "tar: control character": (_tar_named("a\x07b"), "hidden_characters_name"),
    "tar: no UTF-8": (lambda: raw_tar(header(b"caf\xe9", b"0", b"00000000001\0"), padded(b"x")),
                       "hidden_characters_name"),
    "tar: symbolic link": (_tar_kind(tarfile.SYMTYPE, "/etc/passwd"), "symlink"),
    "tar: symbolic link inside": (_tar_kind(tarfile.SYMTYPE, "SKILL.md"), "symlink"),
    "tar: symbolic link with a long target": (_tar_kind(tarfile.SYMTYPE, "../" * 60), "symlink"),
    "tar: hard link": (_tar_kind(tarfile.LNKTYPE, "/etc/shadow"), "hardlink"),
    "tar: hard link inside": (_tar_kind(tarfile.LNKTYPE, "SKILL.md"), "hardlink"),
    "tar: character device": (_tar_kind(tarfile.CHRTYPE), "special_file"),
    "tar: block device": (_tar_kind(tarfile.BLKTYPE), "special_file"),
    "tar: pipe": (_tar_kind(tarfile.FIFOTYPE), "special_file"),
    "tar: unknown type": (_tar_kind(b"Z"), "special_file"),
    "tar: file with holes": (_sparse, "sparse"),
    "tar: pax file with holes": (lambda: _pax((b"GNU.sparse.realsize", b"9999999999")), "sparse"),
    "tar: pax name leads out": (lambda: _pax((b"path", b"../../evil")), "parent_name"),
    "tar: pax size": (lambda: _pax((b"size", b"99999999999")), "wrong_size"),
    "tar: pax size that is none": (lambda: _pax((b"size", b"-5")), "wrong_size"),
    "tar: pax name for all": (lambda: _pax((b"path", b"x"), kind=b"g"), "global_name"),
    "tar: pax that is not whole": (lambda: raw_tar(header(b"p", b"x", b"00000000010\0"), padded(b"99 path=")),
                                   "broken"),
    "tar: negative size": (lambda: raw_tar(header(b"x", b"0", b"\xff" * 12)), "wrong_size"),
    "tar: negative size of a long name": (lambda: raw_tar(header(b"x", b"L", b"\xff" * 12)), "wrong_size"),
    "tar: size beyond the end": (lambda: raw_tar(header(b"x", b"0", b"77777777777\0")), "wrong_size"),
    "tar: size of 2 to the 80": (lambda: raw_tar(header(b"x", b"0", b"\x80\x01" + bytes(10))), "wrong_size"),
    "tar: long name without end": (lambda: raw_tar(header(b"x", b"L", b"00000400000\0"), bytes(131072)), "long_name"),
    "tar: chain of long names": (_long_names, "symlink"),
    "tar: name twice": (lambda: tar_of((entry("a"), b""), (entry("a"), b"")), "duplicate_name"),
    "tar: case": (lambda: tar_of((entry("A"), b""), (entry("a"), b"")), "case_collision"),
    "tar: thousands of folders": (lambda: _many_folders(2100), "too_many_files"),
    "tar: broken header": (lambda: raw_tar(b"\x01" * 512), "broken"),
    "tar: 21 MB": (lambda: _big_tar(21 * MB), "too_many_bytes"),
    "tar.gz: parent": (_squeezed("gz", _tar_named("../evil.txt")), "parent_name"),
    "tar.gz: bomb": (_squeezed("gz", lambda: _big_tar(10 * MB)), "ratio"),
    "tar.bz2: bomb": (_squeezed("bz2", lambda: _big_tar(10 * MB)), "ratio"),
    "tar.xz: bomb": (_squeezed("xz", lambda: _big_tar(10 * MB)), "ratio"),
    "tar.zst: bomb": (_squeezed("zst", lambda: _big_tar(10 * MB)), "ratio"),
    "tar.gz: cut off": (lambda: SQUEEZED["gz"](tar_of())[:-20], "broken"),
    "tar.bz2: cut off": (lambda: SQUEEZED["bz2"](tar_of())[:-20], "broken"),
    "tar.xz: cut off": (lambda: SQUEEZED["xz"](tar_of())[:-20], "broken"),
    "tar.zst: cut off": (lambda: SQUEEZED["zst"](tar_of())[:-20], "broken"),
    "tar.xz: more behind its end": (lambda: SQUEEZED["xz"](tar_of()) + b"more", "broken"),
    "tar.xz: 4 GB of memory": (_xz_memory, "broken"),
    "tar.zst: 2 GB of memory": (_zstandard_memory, "broken"),
    "gz of something else": (lambda: SQUEEZED["gz"](MANIFEST), "unknown_format"),
    "gz in gz": (lambda: SQUEEZED["gz"](SQUEEZED["gz"](tar_of())), "unknown_format"),
    "something else": (lambda: b"\x7fELF" + bytes(100), "unknown_format"),
    "21 MB of something": (lambda: bytes(21 * MB), "too_many_bytes"),
}  # fmt: skip
