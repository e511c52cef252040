"""Requests and answers made up by Hypothesis, in pieces cut anywhere, judged by the bytes the other side gets."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.hostile import judge
from tests.router.test_hostile import bytewise, send, understood
from tests.router.world import World, get, values

METHODS = st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH", b"PROPFIND", b"REPORT"])
TARGETS = st.from_regex(rb"/[\x21\x22\x24-\x7e]{0,40}", fullmatch=True)
# With letters that no name the router knows begins with.
NAMES = st.from_regex(rb"[zZqQ][!#$%&'*+.^_`|~0-9A-Za-z-]{0,20}", fullmatch=True)
VALUES = st.from_regex(rb"([\x21-\x7e\x80-\xff]([\t\x20-\x7e\x80-\xff]{0,40}[\x21-\x7e\x80-\xff])?)?", fullmatch=True)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=6)
BODIES = st.none() | st.binary(max_size=200) | st.lists(st.binary(min_size=1, max_size=60), max_size=5)
TOKENS = (
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b":",
    b"\x00",
    b"0",
    b"chunked",
    b"Content-Length: 3\r\n",
    b"\r\n\r\n",
    b",",
    b";",
    b"\xff",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Upgrade: h2c\r\n",
    b"HTTP/1.0",
)
REQUESTS = (
    b"POST /1 HTTP/1.1\r\nHost: app.example\r\nContent-Length: 5\r\nX: y\r\n\r\nhello"
    b"PUT /2 HTTP/1.1\r\nHost: app.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: x\r\n\r\n"
    b"GET /3 HTTP/1.1\r\nHost: app.example\r\nConnection: keep-alive\r\n\r\n"
)
ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nT: x\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.0 200 OK\r\nContent-Type: x/y\r\n\r\nuntil the end",
    b"HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n",
)


def framing(body, chunk_line=b"%x\r\n"):
    """The header line for a body, and how it is sent: not at all, whole, or in chunks."""
    if body is None:
        return b"", b"", b""
    if isinstance(body, bytes):
        return b"Content-Length: %d\r\n" % len(body), body, body
    chunks = b"".join(chunk_line % len(piece) + piece + b"\r\n" for piece in body)
    return b"Transfer-Encoding: chunked\r\n", chunks + b"0\r\n\r\n", b"".join(body)


def lines(fields):
    return b"".join(b"%b: %b\r\n" % field for field in fields)


@st.composite
def request(draw):
    """What is sent, and how it is to be understood."""
    method, target, fields, body = draw(METHODS), draw(TARGETS), draw(FIELDS), draw(BODIES)
    line, sent, body = framing(body)
    head = b"%b %b HTTP/1.1\r\nHost: app.example\r\n%b%b\r\n" % (method, target, lines(fields), line)
    return head + sent, (method, target, fields, body)


@st.composite
def cut(draw, stream):
    """The stream in up to eight pieces."""
    places = sorted(set(draw(st.lists(st.integers(0, len(stream)), max_size=7))))
    return [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]


@st.composite
def mutated(draw, stream):
    """The stream with up to four changes."""
    stream = bytearray(stream)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(stream)))
        token = draw(st.sampled_from(TOKENS))
        kind = draw(st.sampled_from(("insert", "delete", "replace")))
        if kind == "insert":
            stream[place:place] = token
        elif kind == "delete":
            del stream[place : place + draw(st.integers(1, 12))]
        else:
            stream[place : place + len(token)] = token
    return bytes(stream)


class RequestTests(SynchronousTestCase):
    @settings(max_examples=300, deadline=None)
    @given(st.data())
    def test_valid(self, data):
        """Whatever a client sends, and however it is cut: the instance gets it, every byte of it."""
        made = data.draw(st.lists(request(), min_size=1, max_size=4))
        stream = b"".join(sent for sent, _ in made)
        client, wires = send(*data.draw(cut(stream)))
        self.assertIsNone(client.end)
        found = understood(wires)
        self.assertEqual(
            [(method, target, body) for method, target, _, body in found],
            [(method, target, body) for _, (method, target, _, body) in made],
        )
        for (_, _, headers, _), (_, (_, _, fields, _)) in zip(found, made, strict=True):
            self.assertEqual(
                [field for field in headers if field[0][:1] in b"zq"],
                [(name.lower(), value) for name, value in fields],
            )

    @settings(max_examples=400, deadline=None)
    @given(st.data())
    def test_mutated(self, data):
        """Whatever is done to a stream of requests, the instance gets whole requests, the same ones however it is cut."""
        stream = data.draw(mutated(REQUESTS))
        pieces = data.draw(cut(stream))
        outcomes = [self.outcome(way) for way in ([stream], bytewise(stream), pieces)]
        self.assertEqual(outcomes[0], outcomes[1], stream)
        self.assertEqual(outcomes[0], outcomes[2], pieces)

    def outcome(self, pieces):
        """The requests the instance got, and the statuses the client got."""
        client, wires = send(*pieces)
        waiting = client.protocol.responder is not None
        if waiting:
            # For the rest of a body: the client goes away.
            client.reset()
        found = [
            (method, target, [field for field in headers if field[0] != b"x-cid"], body)
            for method, target, headers, body in understood(wires)
        ]
        statuses = judge.statuses(client.written)
        self.assertEqual(statuses.count(204), len(found))
        return found, statuses, bool(client.half or client.end)


class AnswerTests(SynchronousTestCase):
    @settings(max_examples=300, deadline=None)
    @given(st.data())
    def test_valid(self, data):
        """Whatever an instance answers, and however it is cut: the client gets it, every byte of it."""
        fields, body = data.draw(FIELDS), data.draw(BODIES)
        line, sent, body = framing(body)
        ends = not line
        head = b"HTTP/1.1 200 OK\r\n" + lines(fields) + line + b"\r\n"
        world = World()
        client, instance = world.ask()
        for piece in data.draw(cut(head + sent)):
            instance.deliver(piece)
        if ends:
            instance.finish()
        world.step()
        (status, headers, got), rest = judge.answer(client.written, b"GET")
        self.assertEqual((status, got, rest), (200, body, b""))
        self.assertEqual(
            [field for field in headers if field[0][:1] in b"zq"], [(name.lower(), value) for name, value in fields]
        )
        self.assertEqual(instance.end is None, not ends)
        world.check_idle(self)

    @settings(max_examples=400, deadline=None)
    @given(st.data())
    def test_mutated(self, data):
        """Whatever is done to an answer, the client gets one that is not ambiguous, and the slot is given back."""
        stream = data.draw(mutated(data.draw(st.sampled_from(ANSWERS))))
        outcomes = {self.outcome(pieces) for pieces in ([stream], bytewise(stream), data.draw(cut(stream)))}
        # Cut in one way or the other, an error may be noticed before or behind the head.
        self.assertEqual(len({outcome for outcome in outcomes if outcome[1]}) <= 1, True, outcomes)

    def outcome(self, pieces):
        """Status and body that the client got, whole; if it got none, that it saw it break off."""
        world = World()
        client, instance = world.ask(get(b"/", b"Connection: close"))
        for piece in pieces:
            instance.deliver(piece)
            world.step()
        instance.finish()
        world.step()
        # It is asked again elsewhere, or waits for that.
        waiting = client.protocol.responder is not None
        if waiting:
            client.reset()
        world.check_idle(self)
        try:
            (status, headers, body), rest = judge.answer(client.written, b"GET")
        except judge.Unfinished:
            self.assertTrue(waiting or client.end == "aborted")
            return None, False
        self.assertEqual(rest, b"")
        self.assertFalse(values(headers, b"x-waiter"))
        return (status, body), status < 500
