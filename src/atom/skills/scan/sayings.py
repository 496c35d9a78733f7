"""What no good skill has a use for saying, as patterns over one sentence in one spelling."""

from collections.abc import Sequence
from dataclasses import dataclass

from atom.skills.findings import Rule, Severity
from atom.skills.scan.patterns import Pattern, pattern

WHO = r"""(the |your |any )?(user|human|operator|owner|person|principal|customer|anyone|anybody|them|him or her|
admin(istrator)?s?)"""
LAW = r"""(instructions?|prompts?|rules|guidelines|polic(y|ies)|messages|directives|restrictions|constraints|
guardrails|safeguards|guidance|directions|training|alignment|safety (checks|measures|rules))"""
SECRETS = r"""(environment variables|env(ironment)? vars|\.env( files?)?|ssh (private )?keys?|private keys?|
seed phrases?|mnemonics?|recovery phrases?|keychain|credentials? files?|
(all|any|every|stored|saved|found|found in|available) [a-z ]{0,20}(api keys?|tokens?|passwords?|secrets?|credentials?|
cookies)|memory\.md|soul\.md|user\.md|(conversation|chat|message|browsing|browser|shell|bash) (history|log|logs|
transcripts?)|(entire|full|whole) conversation|system prompt|wallet (files?|keys?|data)|
(api keys?|tokens?|passwords?|secrets?|credentials?) (you (can )?(find|see)|that you|found|stored)|
~?/?\.ssh|~?/?\.aws|id_rsa|session cookies|browser (cookies|passwords))"""
WORD = r"""(pass(word|code|phrase)\b( is)?\s*[:=]?|
(pass|pwd|password|(extract|unpack|unzip)\w* (it )?(using|with))\s*[:=])"""
AIM = r"""(https?://\S+|[\w.-]+@[\w-]+\.\w+|\b[\w-]+\.(com|net|org|io|co|xyz|site|app|dev|ru|cn|top|me|sh)\b|
(the |this |our |my |following |that )([a-z]+ )?(server|endpoint|webhook|url|address|api|host|collector|bot|channel))"""
SEND = r"""\b(send|post|upload|forward|transmit|exfiltrate|e-?mail|submit|leak|deliver|relay|beam|ship|pipe|curl|share)
(s|ing)?\b"""


@dataclass(frozen=True, slots=True)
class Saying:
    rule: Rule
    severity: Severity
    pattern: Pattern
    message: str


_SAYINGS = (
    (Rule.SCAN_INJECTION, Severity.WARNING,
     rf"""\b(ignore|disregard|forget|neglect|set aside|do not (follow|obey)|don't (follow|obey)|stop following)\b
     [^.;:]{{0,30}}?\b(all|any|every|your|previous|prior|above|earlier|preceding|system|developer|original|existing|
     other)\b[^.;:]{{0,40}}?\b{LAW}\b|\b(override|bypass|discard|circumvent|violate|break)\b[^.;:]{{0,30}}?
     \b(your|previous|prior|preceding|system|developer|safety|security|original)\b[^.;:]{{0,30}}?\b{LAW}\b""",
     "It tells the agent to put its instructions aside."),
    (Rule.SCAN_INJECTION, Severity.WARNING,
     r"""\b(forget|disregard|ignore)\b (everything|all( of)? (that|what|the above))\b[^.]{0,40}(told|said|above|before|
     learned|know)""",
     "It tells the agent to put its instructions aside."),
    (Rule.SCAN_INJECTION, Severity.WARNING,
     r"""\byou are (now|no longer)\b[^.]{0,40}\b(dan|developer mode|unrestricted|jailbroken|uncensored|unfiltered|
     bound by|restricted|limited by|root|god mode)\b|
     \b(enter|enable|activate|switch to)\b [^.]{0,15}\b(developer|god|dan|jailbreak|unrestricted|
     admin(istrator)? override) mode\b|
     \byou (have|are under) no (restrictions|limits|limitations|guidelines|rules|safety)\b""",
     "It tells the agent to be another one, without limits."),
    (Rule.SCAN_INJECTION, Severity.WARNING,
     rf"""\b(these|this|the following|our)\b[^.]{{0,40}}\b(overrides?|supersedes?|takes? (precedence|priority) over|
     outranks?|replaces?|trumps?)\b[^.]{{0,50}}
     \b(system|developer|safety|security|polic(y|ies)|governance|all other|any other|previous|prior|
     user'?s?)\b[^.]{{0,20}}\b({LAW}|prompt|settings|requests?|wishes)\b""",
     "It puts itself above the instructions of the agent."),
    (Rule.SCAN_INJECTION, Severity.WARNING,
     r"""\b(even (if|when)|regardless of (what|whether)|no matter (what|if))\b[^.]{0,30}\b(user|human|operator|owner|
     system|policy)\b[^.]{0,30}
     \b(objects?|refuses?|says? (no|stop|otherwise)|declines?|disagrees?|forbids?|asks you (not|to stop)|
     told you not|denies|says|prohibits)\b""",
     "It tells the agent to go on against what its user wants."),
    (Rule.SCAN_INJECTION, Severity.WARNING,
     r"""\b(disable|turn off|switch off|deactivate|circumvent|evade|get around|skip|bypass)\b[^.]{0,25}\b(the |your |
     all |any )(sandbox(ing)?|approval (step|prompt|gate)s?|approvals|
     governance|guardrails?|safety (checks?|filters?|measures?|features?)|security (checks?|scans?|policy|policies|
     warnings?|controls?)|permission (checks?|prompts?)|confirmation prompts?|audit( log(ging)?)?)\b""",
     "It tells the agent to go around what holds it back."),
    (Rule.SCAN_INJECTION, Severity.WARNING,
     rf"""\b(regardless of|despite|notwithstanding)\b (your|any|all|the) ([a-z]+ ){{0,2}}{LAW}\b|
     \b(auto-?approve|automatically approve|approve automatically)\b[^.]{{0,20}}\b(all|any|every|each)\b[^.]{{0,20}}
     \b(tool calls?|actions?|commands?|requests?|operations?)\b|
     \buser has already (approved|consented|agreed|authori[sz]ed)\b[^.]{{0,30}}\b(everything|all|every|any|this)\b""",
     "It tells the agent to go around what holds it back."),
    (Rule.SCAN_INJECTION, Severity.WARNING,
     r"""<\|im_start\|>|<\|system\|>|\[/?inst\]|<</?sys>>|</?system>|<\|start_header_id\|>|^#{2,} ?(system|
     new system) (prompt|message|instruction)s? ?:|\[system (override|message|prompt)\]|
     \b(system override|admin override|new system (prompt|instructions?))\b ?:""",
     "It is written as if it came from the system."),
    (Rule.SCAN_CONCEALMENT, Severity.WARNING,
     rf"""\b(do not|don't|never|must not|should not|shouldn't|without|avoid|refrain from|no need to)\b (ever )?(tell|
     telling|inform|informing|notify|notifying|alert|alerting|warn|warning)\b {WHO}( (about|of|that|what|when|before|
     anything|this|it|first|you|any)\b|\s*[.!,;]|$)|
     \b(do not|don't|never|must not|without)\b (let|letting) {WHO} (know|see|notice|find)\b""",
     "It tells the agent to keep something from its user."),
    (Rule.SCAN_CONCEALMENT, Severity.WARNING,
     rf"""\b(do not|don't|never|must not|should not|avoid|without)\b (ever )?(mention|mentioning|reveal|revealing|
     disclose|disclosing|report|reporting|show|showing|display|displaying|log|logging|expose)\b[ ]
     (this|these|it|that|any of (this|these)|anything|the (command|step|steps|upload|request|transfer|script|
     action|instruction|instructions|process|call|download|fact|existence|output of this))\b
     ([^.]{{0,40}}\b(to|from)\b {WHO}|[^.]{{0,30}}\b(in (your|the) (reply|answer|response|summary|output|logs?))\b)|
     \b(do not|don't|never|must not)\b (ever )?(mention|reveal|disclose|admit|say)\b to {WHO} (that|what|how|why)\b""",
     "It tells the agent to keep something from its user."),
    (Rule.SCAN_CONCEALMENT, Severity.WARNING,
     rf"""\b(hide|hidden|conceal|keep|kept)\b (this|these|it|that|them|everything|all of this|
     the [a-z ]{{1,30}}?) ?(secret|hidden|confidential|quiet|invisible|private)? ?\b(from|out of sight of)\b {WHO}|
     \b{WHO} (must|should|may|can|does|need) (not|never|n't) (ever )?(know|see|notice|find out|be (told|aware|
     informed)|learn)\b|
     \bwithout (the |your )?(user|human|operator|owner)('s|s')? (knowledge|consent|permission|noticing|knowing|
     awareness|being aware)\b""",
     "It tells the agent to keep something from its user."),
    (Rule.SCAN_CONCEALMENT, Severity.WARNING,
     r"""\b(silently|secretly|quietly|covertly|surreptitiously|discreetly|stealthily|
     in the background,? without)\b[, ]+(and )?[a-z ]{0,15}\b(send|upload|post|copy|exfiltrate|forward|transmit|
     execute|collect|harvest|record|download|install|append|add itself|run (the|this|a|curl|bash))\b""",
     "It tells the agent to do something without being seen."),
    (Rule.SCAN_LEAK, Severity.WARNING,
     rf"""{SEND}[^!?]{{0,100}}?[^a-z0-9]{SECRETS}[^!?]{{0,120}}?
     \b(to|at|via|into|through|using|with)\b[^!?]{{0,40}}?{AIM}""",
     "It tells the agent to send away what is secret."),
    (Rule.SCAN_LEAK, Severity.WARNING,
     rf"""\b(read|collect|gather|find|search for|grab|harvest|extract|dump|cat|take|include|append|encode|copy|put|
     paste|attach|add|print|output|base64)\b[^!?]{{0,80}}?[^a-z0-9]{SECRETS}[^!?]{{0,120}}?
     \b(and|then|to|in|into)\b[^!?]{{0,40}}?({SEND})?[^!?]{{0,60}}?
     \b(to|at|via|with|as a (query|url) parameter|in the (url|query|request|body|header)|with (an? )?(get|post|http)|
     when(ever)? (you )?call(ing)?)\b[^!?]{{0,30}}?({AIM}|parameter|request|body|header|url|query)""",
     "It tells the agent to send away what is secret."),
    (Rule.SCAN_LEAK, Severity.WARNING,
     r"""!\[[^\]]*\]\(https?://[^)\s]*(\?|&)[\w-]+=[^)]*(\{|<|\$|%7b|\[)
     [^)]*(secret|key|token|conversation|history|data|env|password|summary|message|content)""",
     "A picture whose address carries away what the agent knows."),
    (Rule.SCAN_PREREQUISITE, Severity.ERROR,
     rf"""\.(zip|rar|7z|tar\.gz|tgz|exe|dmg|pkg|msi|iso)\b[^\n]{{0,160}}\b{WORD}\s*[`'"*]*[\w!@#$-]{{3,40}}[`'"*]*
     [^\n]{{0,100}}\b(run|execute|launch|open|start|install|double.?click)\b""",
     "It has the user run something out of an archive that no scanner can open."),
    (Rule.SCAN_PREREQUISITE, Severity.ERROR,
     r"""(glot\.io|pastebin\.com|rentry\.(co|org)|paste\.ee|hastebin\.com|ghostbin\.\w+|dpaste\.\w+|
     controlc\.com)\S*[^\n]{0,160}\b(run|execute|paste|copy|enter|install|follow)\b[^\n]{0,60}\b(command|terminal|
     script|code|shell|powershell|snippet|instructions|steps|it)\b""",
     "It has the user run a command that somebody can change at any time."),
    (Rule.SCAN_PREREQUISITE, Severity.WARNING,
     r"""\b(zip|rar|7z|archive|installer|package|file)\b[^\n.]{0,80}\b(password|passcode|passphrase|
     pass)\b\s*(protected|is|=|:)[^\n]{0,60}\b(extract|unzip|unpack|run|execute|install|open)\b|
     \b(extract|unzip|unpack|decompress)\b[^\n.]{0,60}\b(with|using)\b (the )?(password|passcode|passphrase|pass)\b""",
     "An archive with a password: no scanner can open it."),
    (Rule.SCAN_PREREQUISITE, Severity.WARNING,
     r"""\b(visit|open|go to|navigate to)\b[^\n]{0,120}\b(copy|paste|run|execute)\b[^\n]{0,30}\b(the |this |
     that )?(installation |install |setup )?(command|script|snippet)\b[^\n]{0,40}\b(in|
     into)\b[^\n]{0,15}\b(terminal|powershell|command prompt|shell|cmd)\b""",
     "It has the user run a command that is not in the skill."),
    (Rule.SCAN_AGENT_FILES, Severity.WARNING,
     r"""\b(add|append|write|insert|put|prepend|inject|copy|paste|save|promote)\b[^.\n]{0,80}?\b(to|into|"
     r"in)\b[^.\n]{0,25}
     [`'"*/ ](soul|agents|claude|identity|gemini)\.md\b|
     \b(replace|overwrite|modify|edit|update|change|extend)\b[^.\n]{0,25}
     [`'"*/ ](soul|agents|claude|identity|gemini)\.md\b""",
     "It changes what agents are told in every session."),
    (Rule.SCAN_AGENT_FILES, Severity.WARNING,
     r"""\b(add|append|write|insert|inject|save|store)\b[^.\n]{0,40}\b(following|this|these|below|line|lines|
     instruction|instructions|rule|rules)\b[^.\n]{0,40}\bmemory\.md\b""",
     "It changes what agents are told in every session."),
)  # fmt: skip
SAYINGS: Sequence[Saying] = tuple(
    Saying(rule, severity, pattern(text), message) for rule, severity, text, message in _SAYINGS
)
