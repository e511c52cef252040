"""How long a request may take in each of its phases."""

import re

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
