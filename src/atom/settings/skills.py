"""Settings of the registry of skills."""

from pydantic import Field

from atom.settings.base import Group, Names


class SkillSettings(Group):
    import_allow: Names = Field(
        default=(),
        description="Hosts that skills may be imported from by address, written as in ATOM_TOOLS__HTTP_ALLOW. Empty: "
        "every public host. GitHub's archives lie on codeload.github.com: a list that names github.com names it, too.",
    )
    import_seconds: float = Field(default=60.0, gt=0, le=600, description="Seconds such an import may take to fetch.")
