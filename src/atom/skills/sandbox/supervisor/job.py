"""What an execution is to be, as the supervisor got it."""

from atom.skills.sandbox.supervisor import wire


class Job:
    """Sizes are bytes, times seconds. `drop` is the uid a supervisor that is root gives to the program, else -1.

    `proxy` is the port of the proxy to the hosts that the program may reach, 0 where it may reach none.
    """

    def __init__(self, request: wire.Request) -> None:
        self.id = _text(request["id"])
        self.mark = _number(request["mark"])
        self.backend = _text(request["backend"])
        self.command = _texts(request["command"])
        self.environment = _pairs(request["environment"])
        self.files = _files(request["files"])
        self.input = _bytes(request["input"])
        self.memory = _number(request["memory"])
        self.cpus = float(str(request["cpus"]))
        self.seconds = float(str(request["seconds"]))
        self.pids = _number(request["pids"])
        self.output = _number(request["output"])
        self.disk = _number(request["disk"])
        self.result = _number(request["result"])
        self.artefacts = _number(request["artefacts"])
        self.artefact_bytes = _number(request["artefact_bytes"])
        self.state = _text(request["state"])
        self.drop = _number(request["drop"])
        self.bwrap = _text(request["bwrap"])
        self.read = _texts(request["read"])
        self.proxy = _number(request.get("proxy", 0))
        self.layers = _texts(request["layers"])

    def placed(self, work: str, layers: list[str]) -> dict[str, str]:
        """The program's environment, with the folders it works in and imports from."""
        found = {name: value.replace("{work}", work) for name, value in self.environment.items()}
        for number, path in enumerate(layers):
            found = {name: value.replace(f"{{layer{number}}}", path) for name, value in found.items()}
        return found


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(value)
    return value


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(value)
    return value


def _texts(value: object) -> list[str]:
    if not isinstance(value, list):
        raise TypeError(value)
    return [_text(entry) for entry in value]


def _pairs(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise TypeError(value)
    return {_text(name): _text(entry) for name, entry in value.items()}


def _files(value: object) -> dict[str, bytes]:
    if not isinstance(value, dict):
        raise TypeError(value)
    return {_text(name): _bytes(entry) for name, entry in value.items()}
