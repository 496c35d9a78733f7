"""S3-compatible buckets."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from obstore.store import S3Store
from pydantic import SecretStr

if TYPE_CHECKING:
    from obstore.store import S3Config


@dataclass(frozen=True, slots=True)
class Bucket:
    """`url`: s3://bucket/prefix. Empty: Amazon's own service; what the environment of the process provides."""

    url: str
    endpoint: str
    region: str
    access_key_id: str
    secret_access_key: SecretStr | None


def open_bucket(bucket: Bucket) -> S3Store:
    """Opens no connection yet."""
    place, _, prefix = bucket.url.removeprefix("s3://").partition("/")
    config: S3Config = {"bucket": place, "region": bucket.region}
    if bucket.endpoint:
        config["endpoint"] = bucket.endpoint
    if bucket.access_key_id:
        config["access_key_id"] = bucket.access_key_id
    if bucket.secret_access_key:
        config["secret_access_key"] = bucket.secret_access_key.get_secret_value()
    return S3Store(
        prefix=prefix or None,
        config=config,
        client_options={
            "allow_http": bucket.endpoint.startswith("http://"),
            "timeout": timedelta(seconds=60),
            "connect_timeout": timedelta(seconds=5),
        },
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=30)},
    )
