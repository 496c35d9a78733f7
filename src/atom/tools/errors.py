"""Failures that go back to the model as a clear text."""

from atom.errors import InvalidError


class ToolError(InvalidError):
    """The call cannot be done as asked; the message tells the model what to change."""

    code = "tool_error"


class ToolArgumentsError(ToolError):
    """The arguments do not fit the tool's schema; the message names the argument and the problem."""

    code = "tool_arguments"


class OutsideWorkspaceError(ToolError):
    code = "outside_workspace"


class EgressRefusedError(ToolError):
    """The address is not one that this deployment lets agents reach."""

    code = "egress_refused"
