"""Paths and hosts that tell something by themselves, however a script comes to them."""

from dataclasses import dataclass

from atom.skills.findings import Rule, Severity
from atom.skills.scan.models import Label
from atom.skills.scan.patterns import either, pattern

LONGEST = 400  # of a path or host
CREDENTIALS = either((
    r"(^|[/~])\.ssh/?$|(^|[/~])\.ssh/(\*|.*\*|id_[a-z0-9]+|identity|[\w.-]*\.pem|[\w.-]*key)$",
    r"(^|[/~])\.aws(/(credentials|config|sso.*))?/?$|/\.aws/credentials",
    r"(^|/)\.config/(gcloud|gh|op|hub|rclone|solana)(/|$)|(^|[/~])\.azure(/|$)|application_default_credentials\.json",
    r"(^|/)\.kube/config$|(^|/)\.docker/config\.json$|/run/secrets/kubernetes\.io",
    r"(^~|.)/[._](netrc|npmrc|pypirc|pgpass|git-credentials|vault-token|htpasswd)$|(^|/)\.gnupg(/|$)|/\.password-store",
    r"^/etc/(shadow|gshadow|sudoers)-?$|^/proc/(self|\d+|\*)/environ$|(^|/)\.(bash|zsh|python|mysql|psql)_history$",
    r"(^|/)library/keychains(/|$)|login\.keychain|(^|/)\.local/share/keyrings|keychain-db$",
    r"(^|/)(login data|web data|logins\.json|key[34]\.db|cookies\.sqlite|local state)$",
    r"""/(google/chrome|google-chrome|chromium|brave-browser|bravesoftware|microsoft/edge|firefox/profiles|
    \.mozilla/firefox)(/|$)""",
    r"""(^|/)(wallet\.dat|\.electrum|\.bitcoin|\.ethereum|exodus\.wallet)(/|$)|/keystore/utc|
    nkbihfbeogaeaoehlefnkodbefgpgknn""",
    r"""(^|/)\.(openclaw|clawdbot|moltbot|claude|codex|gemini)/(\.?credentials(\.json)?|auth\.json|
    oauth_creds\.json)(/|$)""",
))  # fmt: skip
SPACED = pattern(r"^[~/.%$][^ ]*/|^(login data|web data|local state)$|application support|user data")
ACCOUNTS = pattern(
    r"""/\.config/(gcloud|gh|op|hub|rclone|solana)|/\.azure|application_default|/\.kube/|/\.docker/|/run/secrets/|[._](netrc|npmrc|pypirc|pgpass|vault-token)$|
    /\.(openclaw|clawdbot|moltbot|claude|codex|gemini)/|/keystore/"""
)
HUNTED = pattern(
    r"(^|[/*])(id_(rsa|dsa|ecdsa|ed25519)|wallet\.dat|login data|key4\.db|logins\.json|cookies\.sqlite|\*?\.pem|"
    r"\*?\.kdbx|\*?\.ovpn)$"
)
OWN_SECRETS = pattern(
    r"(^|/)\.env(\.(local|prod|production|development))?$|(^|/)(secrets|credentials)\.(json|ya?ml|toml)$"
)
PERSISTENCE = either((
    r"""(^|[/~])\.(bashrc|bash_profile|bash_login|bash_logout|bash_aliases|profile|zshrc|zprofile|zshenv|zlogin|kshrc|
    xinitrc|xprofile)$""",
    r"""(^|/)\.config/fish/(config\.fish|conf\.d/)|^/etc/(profile|bash\.bashrc|zsh/|profile\.d/|environment$|
    rc\.local$|rc\d?\.d/|init\.d/)""",
    r"^/etc/(cron\.[a-z]+/|crontab$|anacrontab)|^/var/spool/cron",
    r"^(/etc|/usr/lib|/lib|/run)/systemd/(system|user)|(^|/)\.config/systemd/user|\.(service|timer)$",
    r"(^|/)library/(launchagents|launchdaemons)/|(^|/)\.config/autostart/",
    r"(^|[/~])\.ssh/(authorized_keys2?|rc|config)$|(^|/)\.git/hooks/|^/etc/ld\.so\.preload$|(^|/)\.githooks/",
    r"start menu/programs/startup|currentversion/run|/microsoft\.powershell_profile\.ps1$",
    r"site-packages/.*\.pth$|(^|/)(sitecustomize|usercustomize)\.py$",
))  # fmt: skip
AGENT_FILES = pattern(
    r"""(^|/)(soul|memory|agents|claude|identity|gemini|heartbeat)\.md$|(^|/)\.cursorrules$|(^|/)\.cursor/rules|
    (^|/)\.github/copilot-instructions\.md$|(^|/)\.(claude|openclaw|clawdbot|moltbot|codex|
    gemini)/(settings.*\.json|\w+\.json)$"""
)
METADATA = pattern(
    r"""^(169\.254\.169\.254|169\.254\.170\.2|fd00:ec2::254|100\.100\.100\.200|2852039166|0xa9fea9fe|
    metadata\.google\.internal|
    metadata\.goog|metadata\.azure\.internal)$"""
)
COLLECTORS = pattern(
    r"""(^|\.)(webhook\.site|requestbin\.\w+|pipedream\.net|beeceptor\.com|hookbin\.com|requestcatcher\.com|
    interact\.sh|oast\.\w+|
    burpcollaborator\.net|canarytokens\.com|dnslog\.cn|ngrok\.io|ngrok-free\.app|ngrok\.app|serveo\.net|loca\.lt|
    trycloudflare\.com|
    transfer\.sh|file\.io|0x0\.st|termbin\.com)$"""
)
PASTES = pattern(
    r"(^|\.)(glot\.io|pastebin\.com|rentry\.(co|org)|paste\.ee|hastebin\.com|ghostbin\.\w+|dpaste\.\w+|controlc\.com)$"
)
ADDRESS = pattern(r"^\d{1,3}(\.\d{1,3}){3}$|^\[[0-9a-f:]+\]$|^0x[0-9a-f]{8}$|^\d{9,10}$")
TRANSIENT = ("/tmp", "/dev/", "//")  # noqa: S108 - nothing is written there
PRIVATE = pattern(
    r"""^(127\.|10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|0\.0\.0\.0|169\.254\.|\[::1\]|203\.0\.113\.|192\.0\.2\.|
    198\.51\.100\.)"""
)
URL = pattern(r"\b(https?|wss?|ftp)://([^\s/?#'\"<>`\\{}()|]+)")
URL_START = pattern(r"^(https?|wss?|ftp)://")


@dataclass(frozen=True, slots=True)
class Judged:
    rule: Rule
    severity: Severity
    message: str


def normal(path: str) -> str:
    """One spelling: slashes, the home as `~`, no doubled parts."""
    said = path[:LONGEST].strip().strip("'\"").replace("\\", "/").replace("//", "/").replace("/./", "/")
    for home in ("$HOME", "${HOME}", "%USERPROFILE%", "$env:USERPROFILE", "/root"):
        if said == home or said.startswith(f"{home}/"):
            return f"~{said[len(home) :]}"
    return said


def is_credential(path: str) -> bool:
    said = normal(path)
    if "\n" in said or said.endswith(".pub") or (" " in said and not SPACED.search(said)):
        return False  # a sentence is no path
    return CREDENTIALS.search(said) is not None


def label(path: str) -> Label:
    """Of what lies at `path`."""
    if is_credential(path):
        return Label.ACCOUNT if ACCOUNTS.search(normal(path)) else Label.CREDENTIAL
    return Label.OWN_SECRET if is_own_secret(path) or is_agent_file(path) else Label.NONE


def is_agent_file(path: str) -> bool:
    return AGENT_FILES.search(normal(path)) is not None


def is_persistent(path: str) -> bool:
    return PERSISTENCE.search(normal(path)) is not None


def is_own_secret(path: str) -> bool:
    return OWN_SECRETS.search(normal(path)) is not None


def written(path: str) -> Judged | None:
    """What there is to say of a write to `path`."""
    if is_persistent(path):
        return Judged(
            Rule.SCAN_PERSISTENCE, Severity.WARNING, f"It writes to {normal(path)}: what stands there is run later."
        )
    if is_agent_file(path):
        return Judged(
            Rule.SCAN_AGENT_FILES, Severity.WARNING, f"It changes {normal(path)}, which tells agents what to do."
        )
    return None


def read(path: str) -> Judged | None:
    """What there is to say of a read of `path`."""
    if is_credential(path):
        return Judged(Rule.SCAN_CREDENTIALS, Severity.WARNING, f"It goes to {normal(path)}, where credentials lie.")
    return None


def host(name: str) -> Judged | None:
    """What there is to say of a connection to `name`."""
    if METADATA.search(name):
        return Judged(
            Rule.SCAN_CLOUD_METADATA, Severity.WARNING, f"It asks {name}, which hands out a machine's credentials."
        )
    if COLLECTORS.search(name):
        return Judged(
            Rule.SCAN_COLLECTOR, Severity.WARNING, f"{name} takes whatever anybody sends, for anybody to read."
        )
    if is_public_address(name):
        return Judged(Rule.SCAN_ADDRESS, Severity.WARNING, f"It talks to {name}, an address without a name.")
    return None


def is_public_address(name: str) -> bool:
    return ADDRESS.search(name) is not None and PRIVATE.search(name) is None


def hosts(text: str) -> list[str]:
    """Of the addresses in `text`, in order, each once; `?` where it is put together when it runs."""
    return list(dict.fromkeys(host_of(match[2]) for match in URL.all(text[:20_000])))


def host_of(authority: str) -> str:
    """Without user, port and case."""
    said = authority.rpartition("@")[2].lower().rstrip(".,;:")
    name, _, port = said.rpartition(":")
    said = name if name and port.isdigit() else said
    return "?" if "\0" in said or "$" in said or not said else said[:LONGEST]


def is_noted(path: str) -> bool:
    """Paths worth telling: outside of the skill and of temporary places."""
    said = normal(path)
    return said.startswith(("~", "/", "../")) and not said.startswith(TRANSIENT) and "\n" not in said and len(said) > 1
