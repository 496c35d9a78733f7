"""Files as ranking sees them: logical lines and what is counted of each."""

from dataclasses import dataclass

from atom.retrieval.corpus import Corpus, SourceText
from atom.retrieval.lexical import Document, document
from atom.retrieval.lines import LogicalLine
from atom.retrieval.lru import WeightedLru
from atom.retrieval.split import logical_lines, reading_of

LEAD_WEIGHT = 1.0
HEADINGS_WEIGHT = 0.7
NEAR_HEADINGS = 3


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """`key` stands for the content and how it is read: equal keys have equal lines."""

    path: str
    key: str
    lines: tuple[LogicalLine, ...]
    documents: tuple[Document, ...]


@dataclass(frozen=True, slots=True)
class IndexedCorpus:
    """`whole` is false when the workspace holds more than the limits let one search see."""

    files: tuple[IndexedFile, ...]
    skipped: int
    whole: bool

    @property
    def line_count(self) -> int:
        return sum(len(file.lines) for file in self.files)


class FileIndex:
    """Splits and counts each content once, and forgets what was not used. Blocks; one thread at a time."""

    def __init__(self, max_lines: int) -> None:
        self._max_lines = max_lines
        self._known: WeightedLru[tuple[tuple[LogicalLine, ...], tuple[Document, ...]]] = WeightedLru(2 * max_lines)

    def index(self, corpus: Corpus) -> IndexedCorpus:
        """The files that fit into the bound on lines, in order."""
        files: list[IndexedFile] = []
        lines = 0
        for text in corpus.texts:
            file = self._file(text)
            lines += len(file.lines)
            if lines > self._max_lines:
                return IndexedCorpus(tuple(files), corpus.skipped, whole=False)
            files.append(file)
        return IndexedCorpus(tuple(files), corpus.skipped, corpus.whole)

    def _file(self, text: SourceText) -> IndexedFile:
        key = f"{text.digest}-{reading_of(text.path)}"
        known = self._known.get(key)
        if known is None:
            lines = tuple(logical_lines(text.text, text.path))
            known = lines, tuple(_document(line) for line in lines)
            self._known.put(key, known, len(lines) + 1)
        return IndexedFile(text.path, key, *known)


def _document(line: LogicalLine) -> Document:
    headings = " ".join(line.headings[-NEAR_HEADINGS:])
    return document((line.text, 1.0), (line.lead, LEAD_WEIGHT), (headings, HEADINGS_WEIGHT))
