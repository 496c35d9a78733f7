"""Signed head anchors: what the chain's end was at a time, kept where the database's owner cannot reach it.

The chain alone does not show that its tail was cut or that all of it was computed anew. Pure; files are the edges' job.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from atom.governance.audit.findings import Finding, Kind
from atom.kit.text import canonical_json

ANCHOR, RESEAL = "anchor", "reseal"
DOMAIN = b"atom/audit-anchor\n"  # what is signed here can be mistaken for nothing else
LONGEST_LINE = 10_000
BLOCK = re.compile(r"-----BEGIN PUBLIC KEY-----[A-Za-z0-9+/=\s]+-----END PUBLIC KEY-----")


class AnchorError(ValueError):
    """This is no anchor."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """`hash` is the hex of row `seq`. A reseal says that anchors before it count only up to `trusted`, and why."""

    kind: str
    at: datetime
    seq: int
    hash: str
    key_id: str = ""
    signature: str = ""
    trusted: int | None = None
    reason: str | None = None

    def fields(self) -> dict[str, Any]:
        said: dict[str, Any] = {
            "v": 1,
            "kind": self.kind,
            "at": self.at.astimezone(UTC).isoformat(timespec="microseconds"),
            "seq": self.seq,
            "hash": self.hash,
            "key_id": self.key_id,
        }
        return said if self.kind == ANCHOR else {**said, "trusted": self.trusted, "reason": self.reason}

    def line(self) -> str:
        return json.dumps({**self.fields(), "signature": self.signature}, ensure_ascii=True)

    def signed(self, key: Ed25519PrivateKey) -> "Anchor":
        named = replace(self, key_id=key_id(key.public_key()))
        return replace(named, signature=base64.b64encode(key.sign(named.message())).decode("ascii"))

    def holds(self, key: Ed25519PublicKey) -> bool:
        try:
            key.verify(base64.b64decode(self.signature, validate=True), self.message())
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True

    def message(self) -> bytes:
        """What is signed."""
        return DOMAIN + canonical_json(self.fields()).encode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class Witness:
    """Anchors that count, with what was found on the way to them."""

    anchors: tuple[Anchor, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()


def key_id(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


def public_keys(pem: str) -> dict[str, Ed25519PublicKey]:
    """Every Ed25519 public key of a PEM text, by its id. Raises AnchorError when there is none."""
    found = {}
    for block in BLOCK.findall(pem):
        try:
            key = load_pem_public_key(block.encode("ascii"))
        except (ValueError, UnsupportedAlgorithm) as error:
            raise AnchorError("A public key cannot be read.") from error
        if not isinstance(key, Ed25519PublicKey):
            raise AnchorError("A public key is not an Ed25519 key.")
        found[key_id(key)] = key
    if not found:
        raise AnchorError("There is no public key in it.")
    return found


def parse(line: str) -> Anchor:
    """An anchor from a line of the file, or of the log, where other fields stand beside it. Raises AnchorError."""
    try:
        said = json.loads(line[:LONGEST_LINE])
        version, kind, trusted, reason = said["v"], said["kind"], said.get("trusted"), said.get("reason")
        found = Anchor(
            kind, datetime.fromisoformat(said["at"]), said["seq"], said["hash"], said["key_id"], said["signature"],
            trusted, reason,
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise AnchorError("It is no anchor.") from error
    words = (found.hash, found.key_id, found.signature)
    if (
        version != 1
        or kind not in {ANCHOR, RESEAL}
        or not _number(found.seq)
        or not all(isinstance(word, str) for word in words)
    ):
        raise AnchorError("It is no anchor.")
    if found.at.tzinfo is None or (kind == RESEAL and not (_number(trusted) and isinstance(reason, str))):
        raise AnchorError("It is no anchor.")
    return found


def witness(lines: Iterable[str], keys: Mapping[str, Ed25519PublicKey] | None) -> Witness:
    """The anchors of a file that are signed by one of `keys` and not superseded. `keys` None: signatures are not
    checked, and a note says so."""
    anchors: list[Anchor] = []
    findings: list[Finding] = []
    notes: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            anchor = parse(line)
        except AnchorError:
            notes.append(f"Line {number} of the anchors is none; it was passed over.")
            continue
        problem = _problem(anchor, keys)
        if problem is not None:
            detail = f"Line {number} of the anchors: {problem}"
            findings.append(Finding(anchor.seq, Kind.ANCHOR_FORGED, anchor.seq, detail))
            continue
        if anchor.kind == RESEAL:
            trusted = anchor.trusted or 0
            notes.append(f"Resealed at seq {anchor.seq}: earlier anchors count up to {trusted}. {anchor.reason}")
            anchors = [one for one in anchors if one.seq <= trusted]
        anchors.append(anchor)
    if keys is None and anchors:
        notes.append("Signatures of the anchors were not checked: no public key was given.")
    if not anchors and not findings:
        notes.append("There is no anchor: a cut tail or a full rewrite cannot be seen.")
    return Witness(tuple(anchors), tuple(findings), tuple(notes))


def _problem(anchor: Anchor, keys: Mapping[str, Ed25519PublicKey] | None) -> str | None:
    if keys is None:
        return None
    key = keys.get(anchor.key_id)
    if key is None:
        return f"signed with a key that is not known ({anchor.key_id[:16]})."
    return None if anchor.holds(key) else "its signature does not fit what it says."


def _number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
