"""AWS Bedrock through its OpenAI-compatible endpoint.

The key is a Bedrock API key, or `ACCESS_KEY_ID:SECRET_ACCESS_KEY` of an IAM user, with which calls are signed: that
needs the extra `bedrock`.
"""

import re

import openai

from atom.kit.clock import Clock, SystemClock
from atom.llm.access import Access
from atom.llm.adapters.openai import OpenAIModel
from atom.llm.adapters.wire import create_client, endpoint, whole_timeout
from atom.llm.errors import ModelNotConfiguredError
from atom.settings import LlmSettings

IAM = re.compile(r"(A[A-Z0-9]{15,127}):([A-Za-z0-9/+=]{20,})")
REGION = "us-east-1"


def build(access: Access, settings: LlmSettings, clock: Clock | None = None) -> OpenAIModel:
    """Raises ModelNotConfiguredError when the key cannot be used, or the extra is missing that it needs."""
    region = access.info.option("region", REGION)
    place = endpoint(access, f"https://bedrock-runtime.{region}.amazonaws.com/openai/v1")
    iam, http = IAM.fullmatch(place.key), create_client(settings)
    try:
        if iam is None:
            client = openai.AsyncBedrockOpenAI(
                api_key=place.key, base_url=place.url, aws_region=region, max_retries=0, http_client=http
            )
        else:
            client = openai.AsyncBedrockOpenAI(
                aws_access_key_id=iam[1],
                aws_secret_access_key=iam[2],
                base_url=place.url,
                aws_region=region,
                max_retries=0,
                http_client=http,
            )
    except (openai.OpenAIError, ImportError) as error:
        raise ModelNotConfiguredError(
            f"{access.info.label} cannot be used ({type(error).__name__}).",
            hint="Keys of IAM users need the extra: pip install 'atom-platform[bedrock]'. Is the region right?",
        ) from None
    return OpenAIModel(client, place, False, clock or SystemClock(), whole_timeout(settings), access.provider)
