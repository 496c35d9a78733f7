"""What a run has read, from its brief and its journal: a new owner, and a replay, come to the same. Pure."""

from atom.governance.models import Label
from atom.governance.taint import TAINTING, Read, Reading
from atom.llm.ports import Role
from atom.runs.options import TOOL_RESULT
from atom.runs.records import ToolRecord
from atom.runs.transcript import Brief, Recorded, fitting, with_files

UNKNOWN = frozenset({Label.UNTRUSTED})  # of results that the release before has journaled


def reading_of(brief: Brief, recorded: Recorded) -> Reading:
    """Words of a person: the instructions, what `brief.origin` says of the task, and corrections of the run."""
    reading = Reading()
    reading.user_said(brief.instructions)
    reading.user_said(brief.options.instructions)
    for words in brief.vouching:
        reading.user_said(words)
    brief.origin.heard(reading, with_files(brief.task, brief.files), what="the task, which came from elsewhere")
    _earlier(reading, brief)
    if brief.offered is not None:
        reading.read(Read("the skills it was told of", brief.offered.text, frozenset({Label.TRUSTED})))
    if brief.recalled is not None:
        reading.read(Read("what the agent remembered", brief.recalled.text, brief.recalled.labels & TAINTING))
    for (turn, index), record in sorted(recorded.results.items()):
        call = recorded.replies[turn].tool_calls[index]
        take(reading, call.name, turn, record)
    for notes in recorded.notes.values():
        for note in notes:
            reading.user_said(note)
    return reading


def take(reading: Reading, tool: str, turn: int, record: ToolRecord) -> None:
    labels = UNKNOWN if record.labels is None else record.labels
    reading.read(Read(f"{tool} in turn {turn}", record.content, labels, record.vouched))


def _earlier(reading: Reading, brief: Brief) -> None:
    for exchange in fitting(brief.history):
        exchange.origin.heard(reading, exchange.task, what="an earlier task, which came from elsewhere")
        reading.read(Read("an earlier answer", exchange.answer, exchange.labels or frozenset({Label.TRUSTED})))
    for message in brief.options.context:
        if message.role is Role.USER and not message.content.startswith(TOOL_RESULT):
            reading.user_said(message.content)
        elif message.role is Role.USER:
            reading.read(Read("a tool of the caller", message.content, frozenset({Label.UNTRUSTED})))
