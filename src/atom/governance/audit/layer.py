"""The audit chain put together, from settings, once per process."""

from dataclasses import dataclass
from pathlib import Path

from atom.governance.audit.anchor_file import AnchorFile
from atom.governance.audit.anchoring import Anchoring
from atom.governance.audit.service import AuditService
from atom.governance.audit.signing import SigningKey
from atom.infra.db import Sessions
from atom.kit.clock import Clock
from atom.settings import AuditSettings

ANCHORS = "audit-anchors.jsonl"


@dataclass(frozen=True, slots=True)
class AuditLayer:
    service: AuditService
    anchoring: Anchoring


def build_audit(sessions: Sessions, clock: Clock, settings: AuditSettings, home: Path) -> AuditLayer:
    """Nothing is opened yet."""
    file = AnchorFile(settings.anchor_file or home / ANCHORS)
    service = AuditService(sessions, SigningKey(settings, home), file)
    return AuditLayer(service, Anchoring(service, clock, settings))
