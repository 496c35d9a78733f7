"""Both ends show that they know the key, and neither says it (HMAC-SHA256 over fresh nonces of both).

Who listens between them learns nothing to begin a connection with; who could change what they say can still do so:
over TCP the network has to keep others out, or encrypt.
"""

import asyncio
import hmac
import secrets
from asyncio import StreamReader, StreamWriter

from atom.skills.sandbox.runner.messages import (
    HELLO_BYTES,
    BadMessageError,
    Challenge,
    Proof,
    Response,
    receive,
    send,
)

VERSION = 1
SECONDS = 10.0
SHORTEST_KEY = 32


class WrongKeyError(Exception):
    """The other end does not know the key, or speaks another version."""


def new_key() -> bytes:
    return secrets.token_hex(32).encode()


async def admit(reader: StreamReader, writer: StreamWriter, key: bytes) -> None:
    """The runner's side. Raises WrongKeyError, EOFError, TimeoutError, OSError."""
    async with asyncio.timeout(SECONDS):
        ours = secrets.token_hex(32)
        await send(writer, Challenge(version=VERSION, nonce=ours))
        try:
            response = await receive(reader, Response, most=HELLO_BYTES)
        except BadMessageError:
            raise WrongKeyError("what came was no answer to the challenge") from None
        _check(response.proof, key, "atom", ours, response.nonce)
        await send(writer, Proof(proof=_proof(key, "runner", ours, response.nonce)))


async def introduce(reader: StreamReader, writer: StreamWriter, key: bytes) -> None:
    """Atom's side. Raises WrongKeyError, EOFError, TimeoutError, OSError."""
    async with asyncio.timeout(SECONDS):
        try:
            challenge = await receive(reader, Challenge, most=HELLO_BYTES)
            if challenge.version != VERSION:
                raise WrongKeyError(f"the runner speaks version {challenge.version}, Atom {VERSION}")
            ours = secrets.token_hex(32)
            await send(writer, Response(proof=_proof(key, "atom", challenge.nonce, ours), nonce=ours))
            proof = await receive(reader, Proof, most=HELLO_BYTES)
        except BadMessageError as error:
            raise WrongKeyError(str(error)) from None
        _check(proof.proof, key, "runner", challenge.nonce, ours)


def _proof(key: bytes, side: str, theirs: str, ours: str) -> str:
    return hmac.digest(key, f"{side}:{theirs}:{ours}".encode(), "sha256").hex()


def _check(proof: str, key: bytes, side: str, first: str, second: str) -> None:
    if not hmac.compare_digest(proof.encode(), _proof(key, side, first, second).encode()):
        raise WrongKeyError("the key is another one")
