"""A body that is too large is refused by the framework, in plain text: callers get the shape of every other error."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from atom.errors import TooLargeError
from atom.web.errors import from_error
from atom.web.openai import errors as openai_errors

HINT = "ATOM_WEB__MAX_BODY_BYTES and ATOM_WEB__MAX_UPLOAD_BYTES are the bounds. Give long material as a file."


class ProblemForLimit:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        replaced = False

        async def translated(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and _plain_refusal(message):
                replaced = True
                error = TooLargeError("The body is larger than this call takes.", hint=HINT)
                shaped = openai_errors.from_error if scope["path"].startswith("/v1/") else from_error
                await shaped(error)(scope, receive, send)
            elif not replaced:
                await send(message)

        await self.app(scope, receive, translated)


def _plain_refusal(message: Message) -> bool:
    return message["status"] == 413 and Headers(raw=message["headers"]).get("content-type", "").startswith("text/plain")
