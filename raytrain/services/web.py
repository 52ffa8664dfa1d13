"""One question over HTTP to a service on loopback, without a proxy between.

The invariant: no answer is None, never an exception; what is asked decides what that means.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(
    url: str, *, headers: Mapping[str, str] | None = None, body: Any = None, timeout_seconds: float = 5
) -> tuple[int, bytes] | None:
    """The status and content of an answer (POST where there is a body); None where nobody answers."""
    request = urllib.request.Request(url, headers={"Content-Type": "application/json", **(headers or {})})
    if body is not None:
        request.data = json.dumps(body).encode()
    try:
        with _DIRECT.open(request, timeout=timeout_seconds) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except (OSError, ValueError, http.client.HTTPException):
        return None


def well(url: str, headers: Mapping[str, str] | None = None) -> bool:
    """Whether a health endpoint says so."""
    answer = ask(url, headers=headers)
    return answer is not None and answer[0] == 200
