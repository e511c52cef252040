"""The strictest reading there is of what an instance, or a client, was sent; and the reading of a library."""

import re

import h11

NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
REQUEST_LINE = re.compile(rb"([A-Z][A-Z-]*) ([\x21-\x7e]+) HTTP/1\.1")
STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-9][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)")
HOST = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]+")

# What frames a message, says where it goes or who asks does not come behind it.
NOT_BEHIND = frozenset(
    b"authorization cache-control connection content-encoding content-length content-range content-type cookie expect host "
    b"forwarded if-match keep-alive location max-forwards origin proxy-authorization range set-cookie te trailer "
    b"transfer-encoding upgrade via www-authenticate x-cid x-forwarded-for".split()
)


class Unfinished(Exception):
    """The bytes end in the middle of a message."""


def check(truth, *what):
    """Whoever reads this might read something else."""
    if not truth:
        raise AssertionError(*what)


def line(stream):
    """The first line, which ends in CR LF and has neither in it, and the rest."""
    first, end, rest = stream.partition(b"\r\n")
    if not end:
        raise Unfinished
    check(b"\r" not in first and b"\n" not in first, first)
    return first, rest


def fields(stream):
    """Header lines up to the empty one, names in lower case, and the rest."""
    found = []
    while True:
        first, stream = line(stream)
        if not first:
            return found, stream
        name, colon, value = first.partition(b":")
        check(colon and NAME.fullmatch(name) and VALUE.fullmatch(value), first)
        found.append((name.lower(), value.strip(b" \t")))


def values(headers, name):
    return [value for known, value in headers if known == name]


def framing(headers):
    """The length, whether there are chunks; never both, nor two of either."""
    lengths, codings = values(headers, b"content-length"), values(headers, b"transfer-encoding")
    check(len(lengths) + len(codings) <= 1, headers)
    check(not codings or codings == [b"chunked"], codings)
    check(not lengths or re.fullmatch(rb"0|[1-9][0-9]{0,17}", lengths[0]), lengths)
    return int(lengths[0]) if lengths else None, bool(codings)


def take(stream, size):
    if len(stream) < size:
        raise Unfinished
    return stream[:size], stream[size:]


def chunks(stream):
    """A body in chunks, its trailers, and the rest."""
    body = []
    while True:
        first, stream = line(stream)
        check(re.fullmatch(rb"0|[1-9a-f][0-9a-f]{0,14}", first), first)
        if first == b"0":
            trailers, stream = fields(stream)
            names = {name.replace(b"_", b"-") for name, _ in trailers}
            check(not [name for name in names if name in NOT_BEHIND or name.startswith(b"x-waiter-")], trailers)
            return b"".join(body), trailers, stream
        piece, stream = take(stream, int(first, 16))
        end, stream = take(stream, 2)
        check(end == b"\r\n", end)
        body.append(piece)


def request(stream):
    """The first request: method, target, headers, body; and the rest."""
    first, stream = line(stream)
    match = REQUEST_LINE.fullmatch(first)
    check(match, first)
    headers, stream = fields(stream)
    hosts = values(headers, b"host")
    check(len(hosts) == 1 and HOST.fullmatch(hosts[0]), headers)
    for name in (b"via", b"x-cid", b"x-waiter-auth-principal"):
        check(len(values(headers, name)) == 1, headers)
    alike = {
        name for name, _ in headers if name.startswith(b"x_waiter") or name in {b"content_length", b"transfer_encoding"}
    }
    check(not alike, headers)
    length, chunked = framing(headers)
    body = b""
    if chunked:
        body, _trailers, stream = chunks(stream)
    elif length:
        body, stream = take(stream, length)
    return (match[1], match[2], headers, body), stream


def requests(stream):
    """All whole requests, and what follows the last of them: a part of one, whose beginning is not ambiguous."""
    found = []
    while stream:
        try:
            first, stream = request(stream)
        except Unfinished:
            break
        found.append(first)
    return found, stream


def read_by_h11(stream):
    """Method, target and body of all whole requests, as h11 reads them."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(stream)
    found = []
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            return found
        if isinstance(event, h11.Request):
            asked, body = event, []
        elif isinstance(event, h11.Data):
            body.append(bytes(event.data))
        else:
            found.append((bytes(asked.method), bytes(asked.target), b"".join(body)))
            connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is h11.MUST_CLOSE:
                return found
            connection.start_next_cycle()


def answer(stream, method, *, minor=1):
    """
    The first answer: status, headers, body; and the rest. Informational ones are passed over.

    @param minor: of the client's HTTP version: an old one may be answered until the connection ends.
    """
    while True:
        first, stream = line(stream)
        match = STATUS_LINE.fullmatch(first)
        check(match, first)
        status = int(match[1])
        headers, stream = fields(stream)
        check(status >= 200 or not framing(headers)[1], headers)
        if status >= 200 or status == 101:
            break
    length, chunked = framing(headers)
    body = b""
    if method == b"HEAD" or status in {101, 204, 304}:
        check(not chunked or method == b"HEAD", headers)
    elif chunked:
        check(minor, headers)
        body, _trailers, stream = chunks(stream)
    elif length is not None:
        body, stream = take(stream, length)
    else:
        check(not minor, "an answer without a length", headers)
        body, stream = stream, b""
    return (status, headers, body), stream


def statuses(stream):
    """
    The statuses of all answers there are, if not all requests need be known: one that has no body although it has a length
    may be an answer to HEAD.
    """
    if not stream:
        return []
    for method in (b"GET", b"HEAD"):
        try:
            (status, _, _), rest = answer(stream, method)
            return [status, *statuses(rest)]
        except (AssertionError, Unfinished) as problem:
            failed = problem
    raise failed
