"""What an automated trigger leads to, by what its agent has earned. Pure; one row of policy is one test row."""

from enum import StrEnum

from atom.governance.models import Maturity


class Way(StrEnum):
    RUN = "run"
    QUEUE = "queue"
    PROPOSE = "propose"
    TRAIN = "train"
    REFUSE = "refuse"


def way(maturity: Maturity, *, active: bool, operator_present: bool) -> Way:
    """A student is trained with the task, an intern asks first, a supervised agent waits for somebody who watches."""
    if not active:
        return Way.REFUSE
    match maturity:
        case Maturity.STUDENT:
            return Way.TRAIN
        case Maturity.INTERN:
            return Way.PROPOSE
        case Maturity.SUPERVISED:
            return Way.RUN if operator_present else Way.QUEUE
        case Maturity.AUTONOMOUS:
            return Way.RUN
