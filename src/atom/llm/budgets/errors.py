"""What can be wrong about a budget."""

from atom.errors import InvalidError, NotFoundError


class BudgetNotFoundError(NotFoundError):
    code = "budget_not_found"

    def __init__(self, id_: str) -> None:
        super().__init__(f"There is no budget {id_[:80]!r}.", hint="`atom keys budgets` shows them.")


class BudgetInvalidError(InvalidError):
    code = "budget_invalid"
