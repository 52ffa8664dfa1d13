"""How one proves oneself to Prefect's API over HTTP, for whoever asks it without Prefect's own client.

It asks nothing itself. The invariant: the environment decides as it does for that client.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping


def authorization(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The header for PREFECT_API_AUTH_STRING (`user:password`), else PREFECT_API_KEY; none where neither is set."""
    if known := environment.get("PREFECT_API_AUTH_STRING"):
        return {"Authorization": f"Basic {base64.b64encode(known.encode()).decode()}"}
    if key := environment.get("PREFECT_API_KEY"):
        return {"Authorization": f"Bearer {key}"}
    return {}
