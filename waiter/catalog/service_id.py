"""The name that a service has because of what it is."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import rfc8785

DEFAULT_PREFIX = "waiter-service-"

_NOT_IN_IDS = re.compile(r"[^a-z0-9]")


def service_id(core: Mapping[str, Any], *, prefix: str = DEFAULT_PREFIX) -> str:
    """
    The id of the service that these parameters describe: the same on every router and after every restart.

    It is the prefix, the letters and digits of the C{name} in lower case if one is given, and the MD5 of the parameters
    as canonical JSON (RFC 8785). It contains no dot. Changing how it is made cuts running instances off from their
    services.

    @param core: the given parameters under their outside names, coerced; defaults are no part of it.
    """
    cleaned = _NOT_IN_IDS.sub("", str(core.get("name") or "").lower())
    digest = hashlib.md5(rfc8785.dumps(dict(core)), usedforsecurity=False).hexdigest()
    return f"{prefix}{cleaned}-{digest}" if cleaned else f"{prefix}{digest}"
