"""What a program finds of the proxy: variables that HTTP clients read, and the machine's certificate authorities."""

from pathlib import Path

from atom.skills.sandbox.egress.gate import USER
from atom.skills.sandbox.supervisor.detour import ADDRESS, PORT

FOLDERS = ("/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted")
BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def folders() -> list[str]:
    """Public certificates only: the folders of private keys are beside them."""
    return [path for path in FOLDERS if Path(path).exists()]


def variables(secret: str) -> dict[str, str]:
    proxy = f"http://{USER}:{secret}@{ADDRESS}:{PORT}"
    found = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), proxy)
    bundle = next((path for path in BUNDLES if Path(path).exists()), "")
    return {**found, "NODE_USE_ENV_PROXY": "1", **({"SSL_CERT_FILE": bundle} if bundle else {})}
