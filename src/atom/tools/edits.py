"""Arguments that a person has changed, held against the tool that will get them: a port that governance owns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atom.governance.errors import ApprovalArgumentsError
from atom.kit.text import canonical_json
from atom.tools.errors import ToolArgumentsError
from atom.tools.registry import ToolRegistry, UnknownToolError


@dataclass(frozen=True, slots=True)
class EditedArguments:
    """People pass the gate that a model passes."""

    registry: ToolRegistry

    def check(self, action: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self.registry.check_arguments(self.registry.get(action), canonical_json(dict(arguments)))
        except (ToolArgumentsError, UnknownToolError) as error:
            raise ApprovalArgumentsError(f"arguments: {error.message}", hint=error.hint, field="arguments") from error
