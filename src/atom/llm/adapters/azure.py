"""Azure OpenAI: the OpenAI protocol behind a resource of one's own. The model is the name of the deployment."""

import openai

from atom.kit.clock import Clock, SystemClock
from atom.llm.access import Access
from atom.llm.adapters.openai import OpenAIModel
from atom.llm.adapters.wire import create_client, endpoint, whole_timeout
from atom.settings import LlmSettings

API_VERSION = "2025-04-01-preview"


def build(access: Access, settings: LlmSettings, clock: Clock | None = None) -> OpenAIModel:
    """The key's address is the resource's, https://NAME.openai.azure.com. Raises ModelNotConfiguredError."""
    place = endpoint(access, "")
    client = openai.AsyncAzureOpenAI(
        api_key=place.key,
        azure_endpoint=place.url,
        api_version=access.info.option("api_version", API_VERSION),
        max_retries=0,
        http_client=create_client(settings),
    )
    return OpenAIModel(client, place, True, clock or SystemClock(), whole_timeout(settings), access.provider)
