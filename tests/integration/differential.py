"""The same request, sent to an application directly and through Waiter, and what may differ between the answers."""

import getpass
from base64 import b64encode

import attrs

from tests.integration.raw_http import Connection
from waiter.version import __version__

PRODUCT = b"waiter/" + __version__.encode()
# What a client's request loses on its way, beside what Connection names.
LOST = frozenset(
    b"authorization connection keep-alive proxy-authorization proxy-connection te trailers transfer-encoding upgrade".split()
)
# What an answer loses or gets: what concerns one connection only, how long the body is if that is not known beforehand, and
# the time.
FREE = frozenset(b"connection date keep-alive transfer-encoding via x-cid".split())


@attrs.frozen
class Ask:
    """
    One request.

    @ivar headers: header lines, beside C{Host} and what frames the body.
    @ivar body: bytes are sent with their length, a tuple of them in chunks.
    @ivar trailers: lines behind the last chunk.
    @ivar waits: it has C{Expect: 100-continue}.
    @ivar free: lower-case names of headers that may have other values: what depends on the moment.
    @ivar clean: takes out of a body what depends on the moment.
    """

    method: bytes
    target: bytes
    headers: tuple = ()
    body: object = None
    trailers: tuple = ()
    minor: int = 1
    waits: bool = False
    free: frozenset = frozenset()
    clean: object = lambda body: body

    def framed(self):
        """The line that frames the body, and the body as it is sent."""
        if self.body is None:
            return [], b""
        if isinstance(self.body, bytes):
            return [b"Content-Length: %d" % len(self.body)], self.body
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in self.body)
        return [b"Transfer-Encoding: chunked"], chunks + b"0\r\n" + b"".join(
            line + b"\r\n" for line in self.trailers
        ) + b"\r\n"


def ask(method, target, *headers, **more):
    return Ask(method.encode(), target.encode("latin-1"), headers, **more)


def head(first, lines):
    return b"".join(line + b"\r\n" for line in (first, *lines, b""))


class Pair:
    """
    An application that runs twice: by itself, and as the instance of a service.

    @ivar port: of the application.
    @ivar waiter_port: of Waiter.
    """

    def __init__(self, port, waiter_port, service_lines, password):
        self.port = port
        self.waiter_port = waiter_port
        self._service_lines = service_lines
        self._host = b"localhost:%d" % waiter_port
        self._password = password
        self._connection = None

    def close(self):
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def directly(self, asked):
        """The answer to what Waiter would make of the request."""
        framing, body = asked.framed()
        kept = [line for line in asked.headers if line.partition(b":")[0].lower() not in LOST]
        user = getpass.getuser().encode()
        lines = [
            b"Host: " + self._host,
            *kept,
            *framing,
            b"via: HTTP/1.%d %b" % (asked.minor, PRODUCT),
            b"x-forwarded-for: 127.0.0.1",
            b"x-forwarded-proto: http",
            b"x-forwarded-host: " + self._host,
            b"x-forwarded-port: %d" % self.waiter_port,
            b"authorization: Basic " + b64encode(b"waiter:" + self._password.encode()),
            b"x-waiter-auth-principal: " + user,
            b"x-waiter-authenticated-principal: " + user,
            *([b"expect: 100-continue"] if asked.waits else []),
            b"x-cid: same",
        ]
        with Connection(self.port) as connection:
            first = b"%b %b HTTP/1.1" % (asked.method, asked.target)
            return connection.ask(asked.method, head(first, lines), body, wait=asked.waits)

    def through_waiter(self, asked):
        """The answer that Waiter's client gets; the connection is used again as long as it lasts."""
        framing, body = asked.framed()
        lines = [b"Host: " + self._host, *asked.headers, *framing, *self._service_lines, b"x-cid: same"]
        if asked.waits:
            lines.append(b"Expect: 100-continue")
        first = b"%b %b HTTP/1.%d" % (asked.method, asked.target, asked.minor)
        if self._connection is None:
            self._connection = Connection(self.waiter_port)
        reply = self._connection.ask(asked.method, head(first, lines), body, wait=asked.waits)
        if asked.minor == 0 or reply.framing == "end" or b"close" in reply.values(b"connection"):
            self._connection.close()
            self._connection = None
        return reply

    def differences(self, asked):
        """What is not the same, or not different as it should be; empty if nothing is."""
        direct, proxied = self.directly(asked), self.through_waiter(asked)
        found = []

        def compare(what, one, other):
            if one != other:
                found.append(f"{what}: directly {one!r:.600}, through Waiter {other!r:.600}")

        compare("status", (direct.status, direct.reason), (proxied.status, proxied.reason))
        compare("headers", shown(direct.headers, asked.free), shown(proxied.headers, asked.free))
        vias = [*direct.values(b"via"), b"HTTP/1.%d %b" % (direct.minor, PRODUCT)]
        compare("what Waiter adds", ([b", ".join(vias)], [b"same"]), (proxied.values(b"via"), proxied.values(b"x-cid")))
        compare("body", asked.clean(direct.body), asked.clean(proxied.body))
        compare("trailers", direct.trailers, proxied.trailers)
        # Where the application did not say how long the answer is, HTTP/1.0 has only one way to say where it ends.
        framing = direct.framing if direct.framing in {"none", "length"} else "chunks" if asked.minor else "end"
        compare("framing", framing, proxied.framing)
        return found


def shown(headers, free):
    """The headers that have to be alike, in order; of those that depend on the moment, the names."""
    return [(name, b"..." if name.lower() in free else value) for name, value in headers if name.lower() not in FREE]
