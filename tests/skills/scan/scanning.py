"""A scan of files made in a test."""

from collections.abc import Mapping
from zipfile import ZIP_STORED

from atom.skills.adapters.grammars import TreeSitter
from atom.skills.bundle.reading import read_bytes
from atom.skills.findings import Finding, Severity
from atom.skills.manifest.reading import read
from atom.skills.scan.models import Scan
from atom.skills.scan.service import Scanner
from tests.skills.packing import zipped

SCANNER = Scanner(TreeSitter())


def scanned(files: Mapping[str, bytes]) -> Scan:
    bundle = read_bytes(zipped(files, method=ZIP_STORED), "good.zip")
    return SCANNER.scan(bundle, read(bundle).manifest.metadata)


def serious(scan: Scan) -> list[Finding]:
    return [one for one in scan.findings if one.severity is not Severity.INFO]
