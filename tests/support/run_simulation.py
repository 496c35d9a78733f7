"""One run under every misfortune, simulated: the clock is a number, workers are generators, a seed decides everything.

What decides is production's: `transitions` (claims, fences, people's wishes), `plan` (what comes next, what may be
repeated) and governance's `decide`. The simulation supplies what they are applied to: a row, a journal, a provider's
ledger, a sink of effects. A worker may die or be stopped at each `yield`; rings come late, twice or never.
"""

import random
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field, replace

from atom.durable.lease import FencedError
from atom.errors import ConflictError
from atom.governance.decide import Standing, Trigger, decide
from atom.governance.models import Action, EffectClass, Maturity, Risk, Verdict
from atom.llm.ports import FinishReason, ToolCall, Usage
from atom.runs import transitions
from atom.runs.models import RunStatus, StepStatus, WaitReason
from atom.runs.plan import Answer, Ask, Call, Place, may_repeat, next_step
from atom.runs.records import ReplyRecord, ToolRecord
from atom.runs.transcript import Recorded
from atom.runs.transitions import GO_ON, Move, State, claim, is_poison, moved, park

LEASE = 8.0
FAULTY_ACTIONS = 120
CALM_ROUNDS = 200
Worker = Generator[None, None, None]


class Violation(AssertionError):
    """An invariant is broken; the message says which and how."""


@dataclass(slots=True)
class Payment:
    """A call of the provider that was paid for."""

    turn: int
    recorded: bool = False


@dataclass(slots=True)
class Mine:
    """What one worker has in memory of the journal."""

    replies: dict[int, ReplyRecord]
    results: dict[Place, ToolRecord]
    begun: dict[Place, StepStatus]


@dataclass(slots=True)
class Alive:
    steps: Worker
    stopped: bool = False
    epoch: int | None = None


@dataclass(slots=True)
class World:
    """The database, the provider and the outside, as they stand."""

    random: random.Random
    script: list[ReplyRecord]
    actions: dict[str, Action]
    maturity: Maturity
    may_be_cancelled: bool
    state: State = field(default_factory=State)
    expires: float = 0.0
    now: float = 0.0
    replies: dict[int, ReplyRecord] = field(default_factory=dict)
    results: dict[Place, ToolRecord] = field(default_factory=dict)
    begun: dict[Place, StepStatus] = field(default_factory=dict)
    approvals: dict[Place, list[str]] = field(default_factory=dict)
    used: Counter[Place] = field(default_factory=Counter)
    ledger: list[Payment] = field(default_factory=list)
    sink: Counter[Place] = field(default_factory=Counter)
    retries: Counter[Place] = field(default_factory=Counter)
    told: set[Place] = field(default_factory=set)  # results that a person gave
    rings: int = 1
    fenced: int = 0
    interrupted: int = 0
    alive: list[Alive] = field(default_factory=list)

    def seen(self) -> State:
        """The row by the database's clock."""
        return replace(self.state, live=self.state.owned and self.expires > self.now)

    def put(self, state: State) -> None:
        before = self.state.status
        if before.ended and state.status is not before:
            raise Violation(f"I1: an ended run changed from {before} to {state.status}")
        if (state.status is RunStatus.WAITING) != (state.wait_reason is not None):
            raise Violation(f"{state.status} with wait_reason {state.wait_reason}")
        if state.owned and state.status is not RunStatus.RUNNING:
            raise Violation(f"somebody owns a run that is {state.status}")
        self.state = state

    def move(self, epoch: int, move: Move, *, progress: bool = False) -> None:
        """One fenced transaction of an owner. Raises FencedError."""
        state = moved(self.state, epoch, move)
        self.put(replace(state, crashes=0) if progress else state)
        self.expires = self.now + LEASE

    def load(self) -> Mine:
        return Mine(dict(self.replies), dict(self.results), dict(self.begun))


def world_of(seed: int) -> World:
    """A run: what its model will say, what its tools do, how mature its agent is."""
    rng = random.Random(seed)
    actions = {
        f"tool-{number}": Action(f"tool-{number}", rng.choice(list(Risk)), rng.choice(list(EffectClass)))
        for number in range(4)
    }
    turns = rng.randint(2, 4)
    script = [_reply(rng, actions, last=turn == turns - 1) for turn in range(turns)]
    maturity = rng.choice([Maturity.INTERN, Maturity.SUPERVISED, Maturity.SUPERVISED, Maturity.AUTONOMOUS])
    return World(rng, script, actions, maturity, may_be_cancelled=rng.random() < 0.15)


def _reply(rng: random.Random, actions: dict[str, Action], *, last: bool) -> ReplyRecord:
    calls = (
        () if last else tuple(ToolCall(f"c{n}", rng.choice(sorted(actions)), "{}") for n in range(rng.randint(1, 2)))
    )
    text = "answer" if last else ""
    return ReplyRecord(text, calls, FinishReason.STOP, "p", "m", Usage(1, 1, None), 1)


def work(world: World, me: Alive) -> Worker:
    """A worker as production's: claim, then step by step what the journal lacks."""
    taken = claim(world.seen())
    if taken is None:
        return
    me.epoch = taken.epoch
    world.put(taken)
    world.expires = world.now + LEASE
    try:
        yield from _walk(world, taken)
    except FencedError:
        world.fenced += 1
    finally:
        me.epoch = None


def _walk(world: World, taken: State) -> Worker:
    epoch = taken.epoch
    yield
    if is_poison(taken.crashes):
        world.move(epoch, transitions.FAIL)
        return
    mine = world.load()
    while True:
        yield
        if world.state.cancel_requested:
            world.move(epoch, transitions.CANCEL)
            return
        if world.state.pause_requested:
            world.move(epoch, transitions.PAUSE)
            return
        match next_step(Recorded(mine.replies, mine.results), mine.begun):
            case Answer():
                yield
                world.move(epoch, transitions.COMPLETE)
                return
            case Ask(turn):
                yield from _ask(world, epoch, mine, turn)
            case Call() as step:
                ended = yield from _call(world, epoch, mine, step)
                if ended:
                    return


def _ask(world: World, epoch: int, mine: Mine, turn: int) -> Worker:
    yield
    payment = Payment(turn)
    world.ledger.append(payment)
    yield
    world.move(epoch, GO_ON, progress=True)
    if turn in world.replies:
        raise Violation(f"I2: turn {turn} was recorded twice")
    reply = world.script[min(turn, len(world.script) - 1)]
    world.replies[turn], payment.recorded = reply, True
    mine.replies[turn] = reply


def _call(world: World, epoch: int, mine: Mine, step: Call) -> Generator[None, None, bool]:
    """True: the run is parked."""
    place = (step.turn, step.index)
    action = world.actions[step.call.name]
    if step.begun is not None and not may_repeat(action.effect, step.begun):
        world.move(epoch, park(WaitReason.REVIEW))
        return True
    if step.begun is StepStatus.STARTED:
        world.move(epoch, GO_ON)
        verdict = Verdict.ALLOW
    else:
        verdict = _authorize(world, epoch, place, action)
    if verdict is Verdict.ASK:
        return True
    if verdict is Verdict.ALLOW:
        yield
        world.sink[place] += 1
        yield
    world.move(epoch, GO_ON, progress=True)
    if place in world.results:
        raise Violation(f"I2: call {place} was recorded twice")
    record = ToolRecord("done" if verdict is Verdict.ALLOW else "refused", None, ())
    world.results[place] = record
    world.begun.pop(place, None)
    mine.results[place] = record
    return False


def _authorize(world: World, epoch: int, place: Place, action: Action) -> Verdict:
    """One transaction: fence, decide, and put on record what follows from it."""
    world.move(epoch, GO_ON)
    standing = Standing(world.maturity, active=True, tools=frozenset(world.actions))
    verdict = decide(standing, action, Trigger.MANUAL).verdict
    if verdict is Verdict.ASK:
        answers = world.approvals.setdefault(place, [])
        latest = answers[-1] if answers else None
        if latest == "rejected":
            verdict = Verdict.DENY
        elif latest == "approved":
            answers[-1] = "used"
            world.used[place] += 1
            verdict = Verdict.ALLOW
        else:
            if latest != "pending":
                answers.append("pending")
            world.move(epoch, park(WaitReason.APPROVAL))
    if verdict is Verdict.ALLOW:
        world.begun[place] = StepStatus.STARTED
    return verdict


def misfortune(world: World) -> None:
    """One random thing that happens: to a worker, to a ring, to the clock, or by a person."""
    happenings = (
        (60, _step), (4, _die), (3, _stop), (3, _go_on), (8, _deliver), (4, _double), (5, _time), (4, _sweep),
        (6, _decide), (1, _cancel), (2, _pause), (3, _resume), (4, _review),
    )  # fmt: skip
    weights = [weight for weight, _ in happenings]
    world.random.choices([happening for _, happening in happenings], weights)[0](world)


def _pick(world: World, *, stopped: bool) -> Alive | None:
    found = [one for one in world.alive if one.stopped is stopped]
    return world.random.choice(found) if found else None


def _step(world: World) -> None:
    one = _pick(world, stopped=False)
    if one is None:
        return
    if world.state.owned and one.epoch == world.state.epoch:  # its heart beats while it is not stopped
        world.expires = max(world.expires, world.now + LEASE)
    try:
        next(one.steps)
    except StopIteration:
        world.alive.remove(one)


def _die(world: World) -> None:
    one = _pick(world, stopped=False)
    if one is not None:
        world.interrupted += 1
        world.alive.remove(one)


def _stop(world: World) -> None:
    one = _pick(world, stopped=False)
    if one is not None:
        world.interrupted += 1
        one.stopped = True


def _go_on(world: World) -> None:
    one = _pick(world, stopped=True)
    if one is not None:
        one.stopped = False


def _deliver(world: World) -> None:
    if world.rings and len(world.alive) < 4:
        world.rings -= 1
        one = Alive(iter(()))  # type: ignore[arg-type]
        one.steps = work(world, one)
        world.alive.append(one)


def _double(world: World) -> None:
    if world.random.random() < 0.5:
        world.rings += 1  # delivered twice
    elif world.rings:
        world.rings -= 1  # or never


def _time(world: World) -> None:
    world.now += world.random.uniform(0, 1.5 * LEASE)
    for one in world.alive:  # hearts beat meanwhile
        if (
            not one.stopped
            and one.epoch == world.state.epoch
            and world.state.owned
            and world.expires > world.now - LEASE
        ):
            world.expires = world.now + LEASE


def _sweep(world: World) -> None:
    if claim(world.seen()) is not None:
        world.rings += 1


def _decide(world: World) -> None:
    for answers in world.approvals.values():
        if answers and answers[-1] == "pending":
            answers[-1] = world.random.choice(["approved", "approved", "rejected"])
            _wake(world)


def _wake(world: World) -> None:
    awake = transitions.woken(world.seen(), WaitReason.APPROVAL)
    if awake is not None:
        world.put(awake)
        world.rings += 1


def _cancel(world: World) -> None:
    if not world.may_be_cancelled:
        return
    try:
        world.put(transitions.cancel(world.seen()))
        world.interrupted += 1
    except ConflictError:
        return


def _pause(world: World) -> None:
    try:
        world.put(transitions.pause(world.seen()))
    except ConflictError:
        return


def _resume(world: World) -> None:
    try:
        after = transitions.resume(world.seen())
    except ConflictError:
        return
    if after.status is RunStatus.QUEUED:
        world.rings += 1
    world.put(after)


def _review(world: World) -> None:
    word = world.random.choice(["retry", "retry", "done", "abort"])
    try:
        after = transitions.reviewed(world.seen(), abort=word == "abort")
    except ConflictError:
        return
    place = min(place for place, status in world.begun.items() if status is StepStatus.STARTED)
    if word == "retry":
        world.begun[place] = StepStatus.RETRY
        world.approvals.setdefault(place, []).append("approved")
        world.retries[place] += 1
    if word == "done":
        world.results[place] = ToolRecord("a person's word", None, ())
        world.told.add(place)
        del world.begun[place]
    world.put(after)
    world.rings += 1


def simulate(seed: int) -> World:
    """A run through its misfortunes and then, when they are over, to its end. Raises Violation."""
    world = world_of(seed)
    for _ in range(FAULTY_ACTIONS):
        misfortune(world)
        if world.state.status.ended and not world.alive:
            break
    _calm(world)
    check(world)
    return world


def _calm(world: World) -> None:
    """Nothing bad happens any more: people answer what they are asked, and rings come."""
    for one in world.alive:
        one.stopped = False
    for _ in range(CALM_ROUNDS):
        while world.alive:
            _step(world)
        if world.state.status.ended:
            return
        world.now += 2 * LEASE
        _decide(world)
        _review(world)
        if world.state.status is RunStatus.PAUSED:
            _resume(world)
        _sweep(world)
        _deliver(world)
    raise Violation(f"I1: the run is {world.state.status}/{world.state.wait_reason} long after the last fault")


def check(world: World) -> None:
    """The invariants, from what the provider and the outside saw."""
    for place, times in world.sink.items():
        action = world.actions[world.replies[place[0]].tool_calls[place[1]].name]
        if not action.effect.repeatable and times > 1 + world.retries[place]:
            raise Violation(f"I3: {action.effect} at {place} happened {times} times, {world.retries[place]} retries")
        asks = decide(Standing(world.maturity, active=True, tools=frozenset(world.actions)), action, Trigger.MANUAL)
        if asks.verdict is Verdict.DENY:
            raise Violation(f"I4: {place} was denied and happened")
        if asks.verdict is Verdict.ASK and not world.used[place]:
            raise Violation(f"I4: {place} happened without an approval")
        if asks.verdict is Verdict.ASK and not action.effect.repeatable and times > world.used[place]:
            raise Violation(f"I4: {place} happened {times} times with {world.used[place]} approvals")
    for place, record in world.results.items():
        if record.content == "done" and not world.sink[place]:
            raise Violation(f"I3: {place} is recorded and never happened")
    for turn in world.replies:
        if sum(one.recorded for one in world.ledger if one.turn == turn) != 1:
            raise Violation(f"I5: turn {turn} is recorded, and not from one payment")
    lost = sum(not one.recorded for one in world.ledger)
    if lost > world.interrupted + world.fenced:
        raise Violation(
            f"I5: {lost} payments without a record, {world.interrupted} interruptions, {world.fenced} fences"
        )
