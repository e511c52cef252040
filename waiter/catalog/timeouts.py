"""How long a request may take in each of its phases."""

import re
from collections.abc import Mapping
from typing import Any

import attrs

MOST_SECS = 3600.0

_INTEGER = re.compile(rb"\s*([+-]?[0-9]{1,10})\s*")
_LARGEST_INTEGER = 2**31 - 1


@attrs.frozen(kw_only=True)
class Timeouts:
    """
    What holds for a request that does not say otherwise.

    @ivar queue_timeout_secs: waiting for a slot.
    @ivar socket_timeout_secs: the instance's silence before its answer begins and while it is idle.
    @ivar streaming_timeout_secs: a peer that takes nothing of a body it is sent.
    """

    queue_timeout_secs: float = 300.0
    socket_timeout_secs: float = 900.0
    streaming_timeout_secs: float = 20.0


def asked_secs(header: bytes | None, configured_secs: float) -> float:
    """
    The timeout that holds for a request whose header is C{header}, in milliseconds.

    What is no integer of 32 bits is as if it were not there, and so is zero or less: no request can ask for no timeout.
    More than an hour is an hour.
    """
    match = None if header is None else _INTEGER.fullmatch(header)
    if match is None:
        return configured_secs
    asked_ms = int(match[1])
    if not 0 < asked_ms <= _LARGEST_INTEGER:
        return configured_secs
    return min(asked_ms / 1000, MOST_SECS)


def whole_secs(header: bytes | None, given: float) -> float:
    """Seconds that a header gives; what is no integer, or less than 0, is as if it were not there."""
    match = None if header is None else _INTEGER.fullmatch(header)
    secs = None if match is None else int(match[1])
    return given if secs is None or secs < 0 else secs


def token_secs(metadata: Mapping[str, Any], configured: Timeouts) -> Timeouts:
    """
    The timeouts of a token. To wait for a slot it may give no time at all; where something has to take time, 0 is as if it
    were not there.
    """
    queue_ms, socket_ms, streaming_ms = (
        value if isinstance(value := metadata.get(f"{name}-timeout-ms"), int) and not isinstance(value, bool) else None
        for name in ("queue", "socket", "streaming")
    )
    return Timeouts(
        queue_timeout_secs=configured.queue_timeout_secs if queue_ms is None else queue_ms / 1000,
        socket_timeout_secs=socket_ms / 1000 if socket_ms else configured.socket_timeout_secs,
        streaming_timeout_secs=streaming_ms / 1000 if streaming_ms else configured.streaming_timeout_secs,
    )
