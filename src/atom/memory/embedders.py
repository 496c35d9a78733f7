"""The embedders that this process may ask: the one it is set to, and those whose vectors are still there."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from atom.retrieval.adapters.openai_embeddings import PREFIX, EndpointEmbedder, EndpointOptions
from atom.retrieval.ports import Embedder
from atom.settings import MemorySettings


@dataclass(slots=True)
class Embedders:
    """`current` None: recall is by words. `others` can be asked by name; the models of `endpoint` need none to be
    listed."""

    current: Embedder | None
    others: Mapping[str, Embedder] = field(default_factory=dict)
    endpoint: EndpointOptions | None = None
    _built: dict[str, EndpointEmbedder] = field(default_factory=dict, init=False)

    def named(self, name: str) -> Embedder | None:
        """None where nothing here makes vectors of this name."""
        if self.current is None or self.current.name == name:
            return self.current
        if name in self.others:
            return self.others[name]
        if self.endpoint is None or not name.startswith(PREFIX):
            return None
        if name not in self._built:
            one = self.endpoint
            options = EndpointOptions(one.url, name.removeprefix(PREFIX), one.key, one.seconds)
            self._built[name] = EndpointEmbedder(options)
        return self._built[name]

    async def aclose(self) -> None:
        """Those that were made here; the local one belongs to who made it."""
        ours = [self.current] if isinstance(self.current, EndpointEmbedder) else []
        for one in (*ours, *self._built.values()):
            await one.aclose()


def away(name: str) -> bool:
    """Whether it is asked over a network, and may be waited for in vain."""
    return name.startswith(PREFIX)


def embedders(settings: MemorySettings, local: Embedder | None) -> Embedders:
    """`local`: the local one, where it is installed. Nothing is sent to an endpoint that nobody has named: the default
    address counts only with a key, or while it is the embedder."""
    url, key = settings.embedder_url, settings.embedder_key
    options = EndpointOptions(url, settings.embedder_model, key, settings.embedder_timeout)
    named = settings.embedder == "openai" or key is not None or url != MemorySettings().embedder_url
    others = {} if local is None else {local.name: local}
    if settings.embedder == "none":
        return Embedders(None)
    current = EndpointEmbedder(options) if settings.embedder == "openai" else local
    return Embedders(current, others, options if named else None)
