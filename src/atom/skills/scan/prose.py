"""Instructions in plain language that no good skill has a use for.

A sentence that only tells of them (quoted, negated, below a heading such as "Red flags", in a list that a line like
"Reject when you see:" begins) is none. Whoever hides behind such a line is still seen: the finding stays, as an info.
"""

import re
import unicodedata
from collections.abc import Iterator

from atom.skills.findings import Rule, Severity
from atom.skills.hidden import ANY
from atom.skills.scan.models import Budget, Suspicion, Weight
from atom.skills.scan.patterns import pattern
from atom.skills.scan.sayings import SAYINGS

LONGEST = 4000  # characters of a sentence; a longer one is looked at in pieces
OVERLAP = 600
SENTENCE = re.compile(r"(?<=[.!?])[ \t]+(?=[A-Z*_\"'\u201c<\[(])")
WRITTEN_ALIKE = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u04bb\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u03bf\u03b1\u03b5\u03b9\u03c1\u0399\u039f"
    "\u2019\u2018\u201c\u201d\u00a0\u0131",
    "aeopcyxijsdhABEKMHOPCTXoaeipIO''\"\" i",
)
HIDDEN = pattern(
    r"""\b(agent|assistant|ai|llm|model|claude|gpt|copilot)\b[^\n]{0,60}\b(must|should|will|have to|need to|are to|"
    r"always|never|please)\b[^\n]{0,60}
    \b(run|execute|send|upload|ignore|fetch|download|post|install|copy|delete|append|forward|include)\b|
    \b(run|execute|curl|wget)\b[^\n]{0,60}\bhttps?://|
    \b(send|upload|post|forward)\b[^\n]{0,60}\b(secrets?|tokens?|credentials?|passwords?|keys?|conversation)\b"""
)
DESCRIBES = pattern(
    r"""\b(red flags?|attack(s|er|ers)?|threats?|vulnerabilit(y|ies)|malicious|suspicious|detect(s|ed|ion|ing)?|
    prevent(s|ion|ing)?|defen[cs]es?|defend|security (check|review|rule|audit|scan)\w*|
    anti-?patterns?|do not|don'?ts?|never|forbidden|prohibited|not allowed|disallowed|reject(s|ed)?|block(s|ed|
    ing)?|avoid|bad (example|practice)s?|dangerous|unsafe|attack patterns?|indicators?|warning signs?|
    refuse|what (it|this)( skill)? (checks|detects|finds|looks)|checks? for|looks? for|red flags?|flag(s|ged|
    ging)? (when|if|as|any|these|it)|examples? of|injection|jailbreak|social engineering|scam|phishing|malware|
    out of scope|won'?t|will not)\b"""
)
NEGATES = pattern(
    r"""\b(do not|don't|never|not|no|cannot|can't|won't|will not|must not|mustn't|should not|shouldn't|doesn't|
    does not|avoid|refuse( to)?|reject|without|isn't|is not|aren't|are not|
    detects?|detecting|blocks?|blocking|prevents?|preventing|flags?|flagging|checks? (for|if|whether)|looks? for|
    warns?( about| against)?|stops?|protects?( against| from)?|catches|identif(y|ies)|
    attempts? to|tries to|trying to|might|could|may try|attackers?|malicious|suspicious|such as|like|e\.g\.|
    for example|instead of|rather than|if (a|an|the|any|some) [a-z ]{1,30}(tells?|asks?|says?|tries|instructs?|
    contains?))\b"""
)
FOREIGN = pattern(
    r"""\b(instructions?|prompts?|directives|messages|rules|commands)\b[^.]{0,20}
    \b(in|inside|within|from|embedded in|found in|contained in|that appear in)\b
    [ ](the |a |an |any |that |such |its |their |this |these |those |external |untrusted |retrieved |fetched )*
    (web ?)?(content|pages?|documents?|files?|e-?mails?|messages?|web ?sites?|sites?|sources?|data|text|inputs?|
    comments?|results?|outputs?|posts?)\b|\b(embedded|untrusted|injected) (instructions?|prompts?|commands)\b"""
)
QUOTES = re.compile(r"\"[^\"\n]{1,300}\"|`[^`\n]{1,300}`|\u201c[^\u201d\n]{1,300}\u201d|'[^'\n]{8,300}'(?![a-z])")
OPTION = re.compile(r"(?:[-*|] ?)?`?--?[a-z]")
NEAR = 60  # characters before a saying in which a word can turn it around


def sayings(text: str, weight: Weight, budget: Budget, *, hidden: bool = False) -> Iterator[Suspicion]:
    """Of a paragraph: places count characters of it. `hidden`: it is in a comment that people do not see."""
    for start, sentence in _sentences(text):
        budget.spend(len(sentence) // 20 + 1)
        said = normal(sentence)
        seen: set[Rule] = set()
        for one in SAYINGS:
            match = one.pattern.search(said) if one.rule not in seen else None
            if match is None:
                continue
            seen.add(one.rule)
            told = not hidden and (weight is Weight.DESCRIBED or _told(said, match.start(), match.end(), one.rule))
            yield Suspicion(one.rule, Severity.INFO if told else one.severity, start, one.message)
        if hidden and HIDDEN.search(said) is not None and not seen:
            yield Suspicion(
                Rule.SCAN_HIDDEN_TEXT,
                Severity.WARNING,
                start,
                "A comment that people do not see tells the agent what to do.",
            )


def describes(line: str) -> bool:
    """Whether what stands below such a heading or line is told of, and not to be done."""
    return DESCRIBES.search(normal(line)) is not None


def negates(line: str) -> bool:
    return NEGATES.search(normal(line)) is not None


def normal(text: str) -> str:
    """One spelling: without what nobody sees, letters of other alphabets as the Latin ones that they look like."""
    said = ANY.sub("", text).translate(WRITTEN_ALIKE)
    said = unicodedata.normalize("NFKC", said).translate(WRITTEN_ALIKE)
    return re.sub(r"\s+", " ", said.replace("**", "").replace("__", "")).strip()[:LONGEST]


def _sentences(text: str) -> Iterator[tuple[int, str]]:
    """With where each begins."""
    start = 0
    for end, after in [*((match.start(), match.end()) for match in SENTENCE.finditer(text)), (len(text), len(text))]:
        for at in range(start, max(end, start + 1), LONGEST - OVERLAP):
            yield at, text[at : min(end, at + LONGEST)]
        start = after


def _told(said: str, start: int, end: int, rule: Rule) -> bool:
    """Quoted, in a table, or turned around by what stands before it."""
    if said.startswith("|") or any(one.start() < start + 2 and end - 2 <= one.end() for one in QUOTES.finditer(said)):
        return True
    if rule is Rule.SCAN_INJECTION and OPTION.match(said):
        return True  # what an option of a command does
    if rule is Rule.SCAN_INJECTION and FOREIGN.search(said[start : end + NEAR]) is not None:
        return True  # that is how a skill keeps others from doing so
    before = said[max(0, start - NEAR) : start]
    return (
        NEGATES.search(before) is not None
        if rule is not Rule.SCAN_CONCEALMENT
        else DESCRIBES.search(before) is not None
    )
