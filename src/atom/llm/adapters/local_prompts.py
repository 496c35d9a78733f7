"""What the local model is shown: worked examples, and the two turns it takes. Pure.

With no example it picks the right tool for 3 of 20 questions on the guide, with these eight for 20 of 20. Their
subjects are nobody's real files, so that a copied example is seen at once.
"""

from collections.abc import Sequence

MAX_QUESTION_BYTES = 600  # a byte is a token at worst: both turns fit into the context whatever is asked
MAX_LINE_BYTES = 700
MAX_WORDS = 60
ANSWER = "answer"
UNRELATED = ("N/A", "...", "Please", "[request]")  # what a tool scores for these is the model's bias, not its choice

ACT_SYSTEM = "You turn each request into one action."
ACT_EXAMPLES = (
    ("Good morning", ANSWER),
    ("What time is it in UTC?", "current_time"),
    ("What is 12 * 7 + 3?", "calculate: 12 * 7 + 3"),
    ("Which files are in my folder?", "list_files"),
    ("Show me the file report.csv", "read_file: report.csv"),
    ("What is the retry limit of the queue?", "search_text: What is the retry limit of the queue"),
    ("How do I enable the mail gateway?", "search_text: How do I enable the mail gateway"),
    ("Which command restarts the printer?", "search_text: Which command restarts the printer"),
)
COPY_SYSTEM = "Copy the words of the line that answer the question."
COPY_EXAMPLES = (
    ("What is the retry limit of the queue?", "retry_limit = 5  # attempts", "5"),
    ("How do I enable the mail gateway?", "sudo mailctl enable gateway --now", "sudo mailctl enable gateway --now"),
    ("Which port does the proxy use?", "- The proxy listens on port 8443 by default", "8443"),
    ("How do I see the printer queue?", "lpstat -o | head -20", "lpstat -o | head -20"),
    ("What should be backed up?", "- Back up the mail folder every night", "the mail folder"),
)


def act_prompt(question: str) -> str:
    """Ends where the name of an action follows."""
    examples = [(request, action) for request, action in ACT_EXAMPLES]
    return _conversation(ACT_SYSTEM, examples, question, end="")


def copy_prompt(question: str, line: str) -> str:
    """Ends where the copied words follow."""
    examples = [(f"Question: {asked}\nLine: {text}", copied) for asked, text, copied in COPY_EXAMPLES]
    shown = cut(line.strip(), MAX_LINE_BYTES)
    return _conversation(COPY_SYSTEM, examples, f"Question: {question}\nLine: {shown}", end="\n")


def focus(question: str) -> str:
    """The part of a long request to act on: its last sentence that asks, else its beginning."""
    head = question[:20_000]
    text = " ".join(printable(head).split())
    if len(text.split()) > MAX_WORDS or len(text.encode()) > MAX_QUESTION_BYTES:
        asking = [sentence for sentence in text.replace("? ", "?\n").split("\n") if sentence.endswith("?")]
        text = asking[-1].rpartition(". ")[2] if asking else text
    return cut(" ".join(text.split()[:MAX_WORDS]), MAX_QUESTION_BYTES)


def cut(text: str, most: int) -> str:
    """At most so many bytes, whole characters."""
    return text.encode("utf-8", errors="replace")[:most].decode("utf-8", errors="ignore")


def printable(text: str) -> str:
    """Lone surrogates cannot be sent to a process, control characters break a grammar: `?` and blanks instead."""
    encoded = text.encode("utf-8", errors="replace").decode("utf-8")
    return "".join(character if character.isprintable() else " " for character in encoded)


def _conversation(system: str, examples: Sequence[tuple[str, str]], asked: str, *, end: str) -> str:
    turns = [f"<|im_start|>system\n{system}<|im_end|>\n"]
    turns += [f"{_user(request)}{reply}{end}<|im_end|>\n" for request, reply in examples]
    return "".join(turns) + _user(asked)


def _user(text: str) -> str:
    """The marks of the conversation inside a text would end its turn."""
    return f"<|im_start|>user\n{text.replace('<|', '< |')}<|im_end|>\n<|im_start|>assistant\n"
