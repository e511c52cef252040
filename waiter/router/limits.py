"""The bounds the router sets on those it talks to."""

import attrs


@attrs.frozen(kw_only=True)
class Limits:
    """
    How much a client or an instance may send, and how long it may take. Nothing is kept beyond these.

    Times are noticed up to two C{sweep_secs} late.

    @ivar head_bytes: a request's line and headers together, and likewise its trailers.
    @ivar header_count: headers of a request.
    @ivar answer_head_bytes: status line and headers of an instance's answer, and likewise its trailers.
    @ivar informational_answers: of an instance to one request, before the real one.
    @ivar pending_bytes: read from a client and not looked at yet; with more than that waiting, nothing is read.
    @ivar replay_bytes: the part of a body that is kept in case the request has to be sent again.
    @ivar discard_bytes: of a body nobody wants any more, read so that the connection can be used on.
    @ivar gathered_bytes: of a body in chunks for an instance that cannot read chunks.
    @ivar api_body_bytes: a body sent to Waiter itself.
    @ivar body_bytes: a body sent to a service; C{None} for any.
    @ivar requests: of one connection; 0 for any number.
    @ivar client_bytes_per_sec: how slow a client may send a body or take an answer, on average over C{pace_secs} in which it
        was waited for; 0 for any pace.
    @ivar idle_secs: how long a client's connection may be idle between requests.
    @ivar crowded_idle_secs: the same while there are as many connections as there may be.
    @ivar head_secs: how long the head of a request may take, and the first one to begin.
    @ivar body_secs: how long a client may send nothing while the rest of its body is waited for.
    @ivar linger_secs: how long a connection is read on after its last answer, so that the answer is not lost.
    @ivar pace_secs: see C{client_bytes_per_sec}.
    @ivar unread_secs: how long a client may read nothing of its last answer before it is cut off.
    @ivar continue_secs: how long an instance may think before a client that asked is told to go on with its body.
    @ivar drain_waiting_secs: how long requests may still wait for a slot when the router stops.
    @ivar sweep_secs: how often connections are looked at.
    """

    head_bytes: int = 32 * 1024
    header_count: int = 200
    answer_head_bytes: int = 64 * 1024
    informational_answers: int = 1000
    pending_bytes: int = 64 * 1024
    replay_bytes: int = 64 * 1024
    discard_bytes: int = 256 * 1024
    gathered_bytes: int = 1024 * 1024
    api_body_bytes: int = 1024 * 1024
    body_bytes: int | None = None
    requests: int = 0
    client_bytes_per_sec: float = 16.0
    idle_secs: float = 75.0
    crowded_idle_secs: float = 1.0
    head_secs: float = 30.0
    body_secs: float = 60.0
    linger_secs: float = 5.0
    unread_secs: float = 20.0
    pace_secs: float = 60.0
    continue_secs: float = 1.0
    drain_waiting_secs: float = 10.0
    sweep_secs: float = 0.25


DEFAULT_LIMITS = Limits()
