"""What calls of well-known libraries do."""

import re
import sys
from collections.abc import Mapping

REMOVED = {  # of the standard library in later versions than 3.11: the same verdict on each of them
    "aifc", "asynchat", "asyncore", "audioop", "cgi", "cgitb", "chunk", "crypt", "distutils", "imghdr", "imp",
    "lib2to3", "mailcap", "msilib",
    "nis", "nntplib", "ossaudiodev", "pipes", "smtpd", "sndhdr", "spwd", "sunau", "telnetlib", "uu", "xdrlib",
}  # fmt: skip
STANDARD = frozenset(sys.stdlib_module_names) | REMOVED | {"__future__", "compression", "annotationlib"}
VERBS = r"get|post|put|patch|delete|head|options|request|stream|send|fetch|ws_connect|websocket_connect"
NETWORK = re.compile(
    rf"(requests|httpx|httpx2|aiohttp|niquests|curl_cffi\.requests|urllib3|treq)(\.\w+)*(\(\))?\.({VERBS})$"
    r"|urllib\.request\.(urlopen|urlretrieve|Request|OpenerDirector\(\)\.open|build_opener\(\)\.open)$|"
    r"urllib\.(urlopen|urlretrieve)$|urllib2\.urlopen$"
    r"|http\.client\.HTTPS?Connection(\(\)\.request)?$|socket\.(socket|create_connection|gethostbyname|getaddrinfo)(\(\)\.(connect|connect_ex|"
    r"send|sendall|sendto))?$"
    r"|(smtplib\.SMTP(_SSL)?|ftplib\.FTP(_TLS)?|telnetlib\.Telnet|paramiko\.SSHClient|imaplib\.IMAP4(_SSL)?|"
    r"poplib\.POP3(_SSL)?)"
    r"(\(\)\.(connect|send_message|sendmail|storbinary|storlines|write|login|exec_command))?$"
    r"|websockets?(\.\w+)*\.(connect|create_connection)(\(\)\.send)?$|asyncio\.open_connection$|wget\.download$|"
    r"pycurl\.Curl$"
    r"|xmlrpc\.client\.ServerProxy$|socketio\.Client\(\)\.(connect|emit)$"
)
SAVES = re.compile(r"(^|\.)urlretrieve$|^wget\.download$")
FETCHES = re.compile(r"(\.|^)(get|post|request|urlopen|Request|recv|read|fetch|open|connect|create_connection|socket)$")
COMMANDS = re.compile(
    r"os\.(system|popen\d?|exec[lv]p?e?|spawn[lv]p?e?|posix_spawnp?|startfile)$|pty\.spawn$"
    r"|subprocess\.(run|Popen|call|check_call|check_output|getoutput|getstatusoutput)$|commands\.get(status)?output$"
    r"|asyncio\.(subprocess\.)?create_subprocess_(exec|shell)$|platform\.popen$|pexpect\.(spawn|run)$"
)
DYNAMIC = {
    "exec",
    "eval",
    "compile",
    "runpy.run_path",
    "code.InteractiveInterpreter().runsource",
    "types.CodeType",
    "types.FunctionType",
}
LOADS = {"marshal.loads", "pickle.loads", "pickle.load", "cPickle.loads", "dill.loads", "cloudpickle.loads"}
IMPORTS = {"__import__", "importlib.import_module", "importlib.__import__"}
DECODES = re.compile(
    r"base64\.\w*decode\w*$|binascii\.(unhexlify|a2b_\w+)$|bytes\.fromhex$|bytearray\.fromhex$|codecs\.decode$|(zlib|"
    r"gzip|lzma|bz2)\.decompress$"
    r"|marshal\.loads$|cryptography\.fernet\.Fernet\(\)\.decrypt$|Fernet\(\)\.decrypt$"
)
WRITES = re.compile(
    r"\.(write_text|write_bytes|touch|mkdir|symlink_to|hardlink_to|unlink|rename|replace)$|^shutil\.(copy|copy2|"
    r"copyfile|move|copytree|rmtree)$"
    r"|^os\.(remove|unlink|rename|replace|symlink|link|makedirs|mkdir|rmdir|chmod)$"
)
READS = re.compile(
    r"\.(read_text|read_bytes|iterdir|glob|rglob)$|^os\.(listdir|scandir|walk)$|^glob\.i?glob$|"
    r"^linecache\.getlines?$|^codecs\.open$"
)
OPENS = {"open", "io.open", "codecs.open", "aiofiles.open", "os.open"}
OPEN_METHOD = re.compile(r"^pathlib\.\w*Path.*\.open$")
TO_SECOND = re.compile(r"^shutil\.(copy|copy2|copyfile|move|copytree)$|^os\.(rename|replace|symlink|link)$")
QUIET = re.compile(
    r"^(print|len|isinstance|logging\.\w+|log(ger)?\.\w+|re\.\w+|warnings\.warn|ArgumentParser|"
    r"argparse\.ArgumentParser(\(\)\.\w+)*|input)$"
    r"|\.add_argument$|(Error|Exception)$|^(raise|str\.startswith)|\.(startswith|endswith|info|debug|warning|error|"
    r"print)$"
)
KEYRINGS = re.compile(
    r"^(keyring\.get_(password|credential)|browser_cookie3\.\w+|win32crypt\.CryptUnprotectData|secretstorage\.\w+)$"
)
SHELLS: Mapping[str, str] = {"-c": "shell", "-ec": "shell", "-lc": "shell", "-xc": "shell", "-ic": "shell"}
