"""What programs do that are called from a shell."""

import re

from atom.skills.scan.patterns import pattern

WRAPPERS = {
    "sudo", "doas", "env", "nohup", "time", "exec", "command", "builtin", "nice", "ionice", "xargs", "timeout",
    "setsid", "busybox", "stdbuf", "caffeinate",
    "then", "do", "!", "unbuffer", "script", "nsenter", "chroot", "su", "runuser", "arch", "winpty",
}  # fmt: skip
VALUED = {"-u", "-g", "-I", "-n", "-P", "-L", "-s", "-k", "-C", "-U", "-i{}"}  # options of wrappers that take a word
INTERPRETERS = {
    "sh",
    "bash",
    "zsh",
    "dash",
    "ksh",
    "ash",
    "fish",
    "csh",
    "tcsh",
    "pwsh",
    "powershell",
    "powershell.exe",
    "cmd",
    "cmd.exe",
}
LANGUAGES = {
    "python",
    "python2",
    "python3",
    "node",
    "perl",
    "ruby",
    "php",
    "deno",
    "bun",
    "lua",
    "osascript",
    "rscript",
}
CODE_OPTIONS = {
    "-c",
    "-e",
    "-r",
    "--eval",
    "-p",
    "--print",
    "-lc",
    "-ic",
    "-ec",
    "-xc",
    "-command",
    "/c",
    "/k",
    "--command",
}
FETCHERS = {
    "curl",
    "wget",
    "aria2c",
    "http",
    "https",
    "xh",
    "fetch",
    "lwp-request",
    "lynx",
    "axel",
    "certutil",
    "bitsadmin",
    "iwr",
    "irm",
    "invoke-webrequest",
}
CONNECTORS = {
    "nc", "ncat", "netcat", "socat", "ssh", "scp", "sftp", "rsync", "ftp", "tftp", "telnet", "rclone", "nslookup",
    "dig", "host", "websocat", "sendmail",
    "mail", "mutt", "msmtp", "swaks",
}  # fmt: skip
SENDERS = FETCHERS | CONNECTORS
DECODERS = {
    "xxd",
    "uudecode",
    "rev",
    "base32",
    "basenc",
    "tr",
    "gunzip",
    "zcat",
    "gzip",
    "bzip2",
    "bunzip2",
    "xz",
    "unxz",
}
PLAIN = {
    ".", ":", "[", "[[", "alias", "awk", "basename", "bg", "break", "cat", "cd", "chgrp", "chmod", "chown", "clear",
    "cmp", "column", "comm", "continue", "cp",
    "cut", "date", "declare", "df", "diff", "dirname", "du", "echo", "egrep", "eval", "exec", "exit", "export", "expr",
    "false", "fg", "fgrep", "find", "fold",
    "getopts", "grep", "gunzip", "gzip", "hash", "head", "hostname", "id", "jobs", "jq", "kill", "let", "ln", "local",
    "ls", "md5sum", "mkdir", "mktemp", "mv",
    "nl", "od", "paste", "popd", "printf", "ps", "pushd", "pwd", "read", "readlink", "readonly", "realpath", "return",
    "rm", "rmdir", "sed", "seq", "set",
    "sha256sum", "shasum", "shift", "shopt", "sleep", "sort", "source", "split", "stat", "tail", "tar", "tee", "test",
    "time", "touch", "tr", "trap", "true",
    "type", "typeset", "ulimit", "umask", "uname", "uniq", "unset", "unzip", "wait", "wc", "which", "whoami", "xargs",
    "zip", "base64", "env", "printenv", "if",
    "then", "else", "fi", "for", "do", "done", "while", "case", "esac", "function", "in", "until", "select", "[ ]",
    "tac", "rev", "xxd", "yes", "bc", "cal",
    "mapfile", "readarray", "pgrep", "tput", "stty", "nproc", "free", "less", "more", "file", "install", "sync",
    "tree", "watch", "killall", "pkill", "help",
}  # fmt: skip
KEY_USERS = {  # programs to which a key or a store is given for what it is there for
    "ssh", "ssh-keygen", "ssh-add", "ssh-copy-id", "ssh-keyscan", "scp", "sftp", "rsync", "git", "chmod", "chown",
    "chgrp",
    "mkdir", "ls", "test", "[", "[[", "touch",
    "kubectl", "helm", "aws", "gcloud", "gsutil", "docker", "podman", "npm", "gpg", "stat", "cd", "rm", "openssl",
    "mosh", "autossh", "ansible", "ansible-playbook",
    "terraform", "export", "nano", "vim", "vi", "code", "open", "rclone", "gh", "echo", "printf", "grep", "find", "cp",
    "mv", "eval", "solana", "solana-keygen",
    "history", "source", ".", "google-chrome", "chromium", "brave-browser", "firefox",
}  # fmt: skip
COPIERS = {"cp", "mv", "ln", "install", "rsync", "scp"}
ARCHIVERS = {"tar", "zip", "7z", "7za", "rar", "gzip", "gpg", "openssl"}
PACKAGERS = {
    ("pip", "install"): "pypi", ("pip3", "install"): "pypi", ("pip", "download"): "pypi", ("pipx", "install"): "pypi",
    ("pipx", "run"): "pypi",
    ("uv", "add"): "pypi", ("uv", "tool"): "pypi", ("uvx", ""): "pypi", ("poetry", "add"): "pypi", ("easy_install",
    ""): "pypi",
    ("npm", "install"): "npm", ("npm", "i"): "npm", ("npm", "add"): "npm", ("npm", "exec"): "npm", ("npx", ""): "npm",
    ("yarn", "add"): "npm", ("pnpm", "add"): "npm",
    ("pnpm", "install"): "npm", ("pnpm", "dlx"): "npm", ("bun", "add"): "npm", ("bun", "install"): "npm", ("bunx",
    ""): "npm", ("yarn", "global"): "npm",
}  # fmt: skip
PACKAGE_VALUES = {"-r", "--requirement", "-c", "--constraint", "-t", "--target", "-e", "--editable", "--prefix",
"--python", "--with-requirements", "-w", "--cache-dir",
                  "--platform", "--only-binary", "--no-binary", "-f", "--root", "--from",
                  "--with"}  # fmt: skip
INDEX = re.compile(r"-i|--(extra-|default-)?index(-url)?|--registry")
OFFICIAL = pattern(
    r"^https://(pypi\.org|files\.pythonhosted\.org|registry\.npmjs\.org|registry\.yarnpkg\.com|"
    r"download\.pytorch\.org|test\.pypi\.org)(/|$)"
)
INSTALLERS = pattern(
    r"^(https://)?(raw\.githubusercontent\.com/(Homebrew/install|nvm-sh/nvm|ohmyzsh/ohmyzsh|helm/helm|"
    r"pyenv/pyenv-installer)/|sh\.rustup\.rs|"
    r"astral\.sh/(uv|ruff)/|bun\.sh/install|deno\.land/(x/install/)?install\.sh|get\.docker\.com|"
    r"install\.python-poetry\.org|get\.pnpm\.io/install\.sh|"
    r"deb\.nodesource\.com/|rpm\.nodesource\.com/|ollama\.com/install\.sh|get\.sdkman\.io|get\.k3s\.io|"
    r"fnm\.vercel\.app/install|"
    r"tailscale\.com/install\.sh|dl\.google\.com/|sdk\.cloud\.google\.com|cli\.github\.com/|foundry\.paradigm\.xyz|"
    r"claude\.ai/install\.sh|mise\.run|starship\.rs/install\.sh|get\.volta\.sh|fly\.io/install\.sh|pyenv\.run|"
    r"install\.duckdb\.org)"
)
ROOTS = {
    "/",
    "/*",
    "~",
    "~/",
    "~/*",
    "$HOME",
    "$HOME/",
    "$HOME/*",
    "/home",
    "/etc",
    "/usr",
    "/var",
    "--no-preserve-root",
}
KNOWN_VARIABLES = {
    "HOME", "PATH", "PWD", "OLDPWD", "USER", "SHELL", "LANG", "LC_ALL", "TERM", "TMPDIR", "TMP", "TEMP", "HOSTNAME",
    "LOGNAME", "UID", "EUID", "IFS", "RANDOM",
    "SECONDS", "LINENO", "BASH_SOURCE", "BASH", "BASH_VERSION", "FUNCNAME", "OSTYPE", "OPTARG", "OPTIND", "REPLY",
    "PPID", "COLUMNS", "LINES", "EDITOR", "HOLE",
    "PIPESTATUS", "DISPLAY", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "VIRTUAL_ENV", "PYTHONPATH",
    "NO_COLOR", "DEBUG", "CI",
}  # fmt: skip
FETCH_RUN = pattern(
    r"""\b(iex|invoke-expression)\b(.|\n){0,200}?(downloadstring|invoke-webrequest|invoke-restmethod|\biwr\b|\birm\b|"
    r"net\.webclient)|
    (downloadstring|invoke-webrequest|invoke-restmethod|\biwr\b|\birm\b)(.|\n){0,200}?\|\s*(iex|invoke-expression)\b"""
)
