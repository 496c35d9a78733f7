"""The child process of the local model: one GGUF model, one socket, one request at a time.

Started by `local_process.py` with the socket's descriptor, the parent's id, the weights, and how many tokens, slots and
threads to run them with; needs the extra `local`.
Requests and answers are JSON lines. It ends when the socket closes, and on Linux at once when its parent dies.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import setproctitle
import xllamacpp

LIKELY_TOKENS = 8_000  # how many of 49,152 are looked at for a label; one further down cannot be the choice
UNLIKELY = -16.0
PR_SET_PDEATHSIG = 1
MAX_REQUEST_BYTES = 32_000_000
Message = dict[str, Any]


class Channel:
    """JSON lines on a socket. `interrupted` is true as soon as the parent says anything, or is gone."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""

    def receive(self) -> Message | None:
        """The next request; None when the parent closed its end."""
        while b"\n" not in self._buffer:
            data = self._connection.recv(65_536)
            if not data or len(self._buffer) > MAX_REQUEST_BYTES:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: Message = json.loads(line)
        return message

    def send(self, message: Mapping[str, Any]) -> None:
        self._connection.sendall(json.dumps(message).encode() + b"\n")

    def interrupted(self) -> bool:
        return bool(self._buffer) or bool(select.select([self._connection], [], [], 0)[0])


class Engine:
    """The loaded model."""

    def __init__(self, weights: Path, *, context: int, slots: int, threads: int) -> None:
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(weights)
        parameters.n_ctx, parameters.n_parallel = context * slots, slots
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
        parameters.cache_ram_mib = 0  # the default keeps up to 8 GB of old prompts
        parameters.warmup, parameters.verbosity, parameters.n_threads_http = False, 0, 1
        parameters.ui = parameters.endpoint_slots = False
        with tempfile.TemporaryDirectory() as private:
            # The library always listens. A socket in a private folder that is removed at once lets nobody in.
            parameters.hostnames = [str(Path(private) / "s.sock")]
            self._server = xllamacpp.Server(parameters)

    def score(self, request: Message) -> Message:
        """How likely each label is to come next, by its first token."""
        answer = self._complete(request, n_predict=1, n_probs=LIKELY_TOKENS)
        if "error" in answer:
            return answer
        scores = dict.fromkeys(request["labels"], UNLIKELY)
        for candidate in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
            token = candidate["token"].strip()
            for label in scores:
                if len(token) > 2 and label.startswith(token):
                    scores[label] = max(scores[label], candidate["logprob"])
        return {"scores": scores, **_usage(answer)}

    def copy(self, request: Message, channel: Channel) -> Message:
        """Text under a grammar, sent as it comes. Ends early when the parent speaks."""
        reply = Reply(request["id"], channel)
        self._complete(request, reply.piece, n_predict=request["tokens"], grammar=request["grammar"], stream=True)
        return reply.result

    def chat(self, request: Message, channel: Channel) -> Message:
        """A conversation, put into words by the model's own template. Sent and ended as a copy is."""
        reply = Reply(request["id"], channel)
        asked = {"messages": request["messages"], "max_tokens": request["max_tokens"], **request["options"]}
        streamed = {"stream": True, "stream_options": {"include_usage": True}, "cache_prompt": True}
        self._server.handle_chat_completions({**asked, **streamed}, reply.piece)
        return reply.result

    def answer(self, request: Message, channel: Channel) -> Message:
        try:
            if request["op"] == "score":
                return self.score(request)
            return self.chat(request, channel) if request["op"] == "chat" else self.copy(request, channel)
        except ValueError as error:  # how the library refuses a template's objection or a schema that it cannot follow
            return {"error": {"code": 400, "message": str(error)}}

    def _complete(self, request: Message, *callback: Any, **options: Any) -> Message:
        question = {"prompt": request["prompt"], "id_slot": request["slot"], "temperature": 0, "cache_prompt": True}
        if callback:
            options["stream_options"] = {"include_usage": True}
        answer: Message | None = self._server.handle_completions({**question, **options}, *callback)
        return answer or {}


class Reply:
    """Sends a streamed reply on, and keeps what is known at its end."""

    def __init__(self, number: int, channel: Channel) -> None:
        self._number, self._channel = number, channel
        self.result: Message = {}

    def piece(self, part: Message) -> bool:
        """True ends the reply."""
        if "error" in part:
            self.result = part
            return True
        for choice in part["choices"]:
            delta = choice.get("delta") or {}
            self._channel.send({"id": self._number, "text": choice.get("text") or delta.get("content") or ""})
            if choice.get("finish_reason"):
                self.result["finish"] = choice["finish_reason"]
        if part.get("usage"):
            self.result.update(_usage(part))
        return self._channel.interrupted()


def _usage(answer: Message) -> Message:
    used = answer.get("usage", {})
    return {"input_tokens": used.get("prompt_tokens", 0), "output_tokens": used.get("completion_tokens", 0)}


def serve(channel: Channel, weights: Path, *, context: int, slots: int, threads: int) -> None:
    started = time.monotonic()
    engine = Engine(weights, context=context, slots=slots, threads=threads)
    channel.send({"ready": round(time.monotonic() - started, 3)})
    while (request := channel.receive()) is not None:
        if request["op"] == "cancel":  # what it meant has ended by now
            continue
        result = engine.answer(request, channel)
        error = result.get("error")
        if error is None:
            channel.send({"id": request["id"], "done": result})
        else:
            refused = 400 <= error.get("code", 500) < 500
            channel.send({"id": request["id"], "error": str(error.get("message", error)), "refused": refused})


def die_with_parent(parent: int) -> None:
    """Linux ends this process when its parent dies, also inside a long computation. Elsewhere the socket tells."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        raise SystemExit(1)


def main(arguments: list[str]) -> None:
    descriptor, parent, weights, context, slots, threads = arguments
    die_with_parent(int(parent))
    setproctitle.setproctitle("atom: local model")
    channel = Channel(socket.socket(fileno=int(descriptor)))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the parent hung up
        serve(channel, Path(weights), context=int(context), slots=int(slots), threads=int(threads))


if __name__ == "__main__":
    main(sys.argv[1:])
