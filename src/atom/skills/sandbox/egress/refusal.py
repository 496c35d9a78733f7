"""Why the proxy does not go on with a connection."""


class Refused(Exception):  # noqa: N818 - an outcome, not a fault
    """`reason` is a stable word, `why` a sentence for the program, `status` what HTTP calls it."""

    def __init__(self, reason: str, why: str, status: int = 403) -> None:
        super().__init__(why)
        self.reason = reason
        self.why = why
        self.status = status


def malformed(why: str) -> Refused:
    return Refused("malformed", why, 400)
