"""Wheels written by hand, also such as no tool builds."""

import base64
import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from atom.skills.layers.declared import REQUIREMENTS
from atom.skills.layers.models import Declared, Wanted, canonical


def wheel(
    name: str,
    version: str = "1.0",
    files: Mapping[str, bytes] | None = None,
    *,
    needs: Sequence[str] = (),
    tag: str = "py3-none-any",
    more: Sequence[tuple[zipfile.ZipInfo, bytes]] = (),
) -> tuple[str, bytes]:
    """The file's name and its bytes. `files` None: a module of its name that knows its version."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(
        f"Requires-Dist: {one}\n" for one in needs
    )
    every = {
        **(files if files is not None else {f"{module}/__init__.py": f'VERSION = "{version}"\n'.encode()}),
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    record = "".join(f"{path},sha256={_hash(data)},{len(data)}\n" for path, data in every.items())
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in {**every, f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode()}.items():
            archive.writestr(zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
        for entry, data in more:
            archive.writestr(entry, data)
    return f"{module}-{version}-{tag}.whl", out.getvalue()


def put(folder: Path, *wheels: tuple[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in wheels:
        (folder / name).write_bytes(data)


def want(*texts: str, hashes: Sequence[str] = (), python: str = "") -> Wanted:
    return Wanted(
        tuple(
            Declared(
                canonical(Requirement(text)),
                canonicalize_name(Requirement(text).name),
                REQUIREMENTS[0],
                line,
                frozenset(hashes),
            )
            for line, text in enumerate(texts, 1)
        ),
        python,
    )


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
