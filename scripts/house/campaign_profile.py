"""Loaded by pytest in a campaign (`-p`): hypothesis with full volumes."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "volume",
    max_examples=int(os.environ.get("CAMPAIGN_EXAMPLES", "10000")),
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
