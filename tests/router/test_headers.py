"""The rules for headers."""

from base64 import b64decode

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.router.world import parse, values
from waiter.errors import BadRequest, InstanceFailed, NotImplementedHere
from waiter.router.answers import client_head, read_answer
from waiter.router.fields import HOP_BY_HOP, safe, trailer_lines
from waiter.router.forwarding import Forwarding
from waiter.router.headers import for_instance, origin_form, read_request

HOST = (b"Host", b"app.example")
NAMES = st.sampled_from(
    [
        *(HOP_BY_HOP - {b"transfer-encoding"}),
        b"X-One",
        b"x-two",
        b"X-Waiter-Debug",
        b"x-waiter-auth-principal",
        b"X_Waiter_Cmd",
        b"Authorization",
        b"Via",
        b"X-Forwarded-For",
        b"X-Forwarded-Proto",
        b"x-cid",
        b"Cookie",
        b"Set-Cookie",
        b"Content-Type",
        b"Expect",
    ]
)
VALUES = st.binary(max_size=20).map(
    lambda value: bytes(c for c in value if c == 9 or (32 <= c != 127)).strip(b" \t")
) | st.sampled_from([b"close", b"x-one", b"keep-alive, X-Two", b"x-waiter-auth=1; a=b", b"100-continue", b""])
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=12)


def forwarding(*, trusted=True, address=b"10.0.0.9", proto=b"http", port=b"9091"):
    return Forwarding(address=address, proto=proto, port=port, trusted=trusted)


def to_instance(*fields, minor=1, password=None, principal="alice@REALM", **options):
    headers = read_request(fields, minor)
    lines = for_instance(
        headers, product=b"waiter/1", forwarding=forwarding(**options), principal=principal, password=password
    )
    return parse(b"GET / HTTP/1.1\r\n" + lines + b"\r\n")[1]


def to_client(*fields, status=200, minor=1, reason=b"OK"):
    return read_answer(status, minor, reason, fields, product=b"waiter/1")


class ReadRequestTests(SynchronousTestCase):
    def test_bodies(self):
        """Whether there is a body, and how its end is found."""
        self.assertTrue(read_request([HOST], 1).bodiless)
        self.assertTrue(read_request([HOST, (b"Content-Length", b"0")], 1).bodiless)
        with_length = read_request([HOST, (b"content-length", b"7 ")], 1)
        self.assertEqual((with_length.bodiless, with_length.content_length, with_length.chunked), (False, 7, False))
        in_chunks = read_request([HOST, (b"TRANSFER-ENCODING", b" Chunked ")], 1)
        self.assertEqual((in_chunks.bodiless, in_chunks.content_length, in_chunks.chunked), (False, None, True))

    def test_ambiguousBodies(self):
        """What could be read in two ways is refused."""
        length, chunks = (b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")
        for fields in (
            [length, chunks],
            [chunks, length],
            [length, length],
            [(b"Content-Length", b"+5")],
            [(b"Content-Length", b"")],
        ):
            self.assertRaises(BadRequest, read_request, [HOST, *fields], 1)
        self.assertRaises(BadRequest, read_request, [HOST, (b"Content-Length", b"9" * 19)], 1)
        self.assertRaises(BadRequest, read_request, [HOST, chunks], 0)
        for coding in (b"gzip, chunked", b"gzip", b""):
            self.assertRaises(NotImplementedHere, read_request, [HOST, (b"Transfer-Encoding", coding)], 1)
        self.assertRaises(NotImplementedHere, read_request, [HOST, chunks, chunks], 1)

    def test_hosts(self):
        """Exactly one in HTTP/1.1, at most one in HTTP/1.0; an empty one is one."""
        self.assertEqual(read_request([(b"hOST", b" a:1 ")], 1).host, b"a:1")
        self.assertEqual(read_request([(b"Host", b"")], 1).host, b"")
        self.assertEqual(read_request([], 0).host, b"")
        self.assertEqual(read_request([(b"Host", b"[::1]:80")], 1).host, b"[::1]:80")
        for fields in (
            [],
            [HOST, HOST],
            [(b"Host", b"a b")],
            [(b"Host", b"a/b")],
            [(b"Host", b"u@a")],
            [(b"Host", b"\xc3\xa4")],
        ):
            self.assertRaises(BadRequest, read_request, fields, 1)

    def test_keepAlive(self):
        """By default in HTTP/1.1, by request in HTTP/1.0, never after close."""
        for minor, connection, expected in (
            (1, None, True),
            (1, b"close", False),
            (1, b"Keep-Alive, CLOSE", False),
            (0, None, False),
            (0, b"Keep-Alive", True),
            (0, b"keep-alive, close", False),
        ):
            fields = [HOST, (b"Connection", connection)] if connection else [HOST]
            self.assertEqual(read_request(fields, minor).keep_alive, expected)

    def test_waiterHeaders(self):
        """They are gathered in order, by lower-case names."""
        headers = read_request([HOST, (b"X-Waiter-Cmd", b"a b "), (b"X-Other", b"1"), (b"x-waiter-Mem", b"2")], 1)
        self.assertEqual(headers.waiter, ((b"x-waiter-cmd", b"a b"), (b"x-waiter-mem", b"2")))
        self.assertEqual(headers.waiter_names, (b"x-waiter-cmd", b"x-waiter-mem"))

    def test_correlationId(self):
        """The first one is taken if it is printable and not too long."""
        for value, expected in (
            (b"abc-1", b"abc-1"),
            (b" abc ", b"abc"),
            (b"a b", None),
            (b"", None),
            (b"\xff", None),
            (b"x" * 257, None),
        ):
            self.assertEqual(read_request([HOST, (b"X-CID", value), (b"x-cid", b"second")], 1).cid, expected)

    def test_expectation(self):
        """Only where a body follows, and only in HTTP/1.1."""
        expect, length = (b"Expect", b"100-Continue"), (b"Content-Length", b"5")
        self.assertTrue(read_request([HOST, expect, length], 1).expects_continue)
        self.assertFalse(read_request([HOST, expect], 1).expects_continue)
        self.assertFalse(read_request([HOST, expect, length], 0).expects_continue)
        self.assertFalse(read_request([HOST, (b"Expect", b"other"), length], 1).expects_continue)

    def test_targets(self):
        """An absolute target becomes a path; its host must be the one in Host."""
        headers = read_request([HOST], 1)
        self.assertEqual(origin_form(b"GET", b"/a?b", headers), (b"/a?b", headers))
        self.assertEqual(origin_form(b"OPTIONS", b"*", headers)[0], b"*")
        self.assertEqual(origin_form(b"GET", b"http://APP.example?q", headers)[0], b"/?q")
        self.assertEqual(origin_form(b"OPTIONS", b"http://app.example", headers)[0], b"*")
        for method, target in (
            (b"GET", b"*"),
            (b"GET", b"/#x"),
            (b"GET", b"http://other/"),
            (b"GET", b"a"),
            (b"GET", b""),
        ):
            self.assertRaises(BadRequest, origin_form, method, target, headers)
        target, headers = origin_form(b"GET", b"http://named/", read_request([], 0))
        self.assertEqual((target, headers.host), (b"/", b"named"))


class ForInstanceTests(SynchronousTestCase):
    def test_whatConcernsTheConnectionIsRemoved(self):
        """The known hop-by-hop headers and those that Connection names."""
        fields = [(name.title(), b"x") for name in HOP_BY_HOP - {b"transfer-encoding", b"connection"}]
        headers = to_instance(
            HOST, *fields, (b"Connection", b"x-one, X-TWO"), (b"X-One", b"1"), (b"x-two", b"2"), (b"X-Three", b"3")
        )
        names = {name for name, _ in headers}
        self.assertFalse(names & HOP_BY_HOP)
        self.assertEqual(names & {b"x-one", b"x-two", b"x-three"}, {b"x-three"})

    def test_whatIsWaitersIsRemoved(self):
        """Its own headers, credentials and cookies."""
        headers = to_instance(
            HOST,
            (b"X-Waiter-Cmd", b"x"),
            (b"Authorization", b"Bearer x"),
            (b"X_Waiter_Auth_Principal", b"root"),
            (
                b"Cookie",
                b"x-waiter-auth=a; mine=1; x-auth-expires-at=9; x-waiter-oidc-challenge-7=c; other=x-waiter-auth",
            ),
            (b"Cookie", b"x-waiter-auth=a"),
        )
        self.assertEqual(values(headers, b"cookie"), [b"mine=1; other=x-waiter-auth"])
        self.assertEqual(
            [name for name, _ in headers if name in (b"authorization", b"x-waiter-cmd", b"x_waiter_auth_principal")], []
        )
        self.assertEqual(values(headers, b"x-waiter-auth-principal"), [b"alice"])
        self.assertEqual(values(headers, b"x-waiter-authenticated-principal"), [b"alice@REALM"])

    def test_password(self):
        """Waiter proves that it asks."""
        (value,) = values(to_instance(HOST, (b"Authorization", b"x"), password="secret"), b"authorization")
        self.assertEqual(b64decode(value.removeprefix(b"Basic ")), b"waiter:secret")

    def test_viaIsAppended(self):
        """To what is there, with the version the client spoke."""
        self.assertEqual(
            values(to_instance(HOST, (b"Via", b"1.0 a"), (b"via", b"1.1 b")), b"via"),
            [b"1.0 a, 1.1 b, HTTP/1.1 waiter/1"],
        )
        self.assertEqual(values(to_instance(HOST, minor=0), b"via"), [b"HTTP/1.0 waiter/1"])

    def test_forwarding(self):
        """The client's address is appended; the rest is believed of proxies on this machine only."""
        said = (
            (b"X-Forwarded-For", b"1.2.3.4"),
            (b"X-Forwarded-Proto", b"https"),
            (b"X-Forwarded-Host", b"outside"),
            (b"X-Forwarded-Port", b"443"),
        )
        trusted = to_instance(HOST, *said)
        untrusted = to_instance(HOST, *said, trusted=False)
        plain = to_instance(HOST)
        names = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port")
        self.assertEqual(
            [values(trusted, name) for name in names], [[b"1.2.3.4, 10.0.0.9"], [b"https"], [b"outside"], [b"443"]]
        )
        self.assertEqual(
            [values(untrusted, name) for name in names],
            [[b"1.2.3.4, 10.0.0.9"], [b"http"], [b"app.example"], [b"9091"]],
        )
        self.assertEqual(
            [values(plain, name) for name in names], [[b"10.0.0.9"], [b"http"], [b"app.example"], [b"9091"]]
        )

    def test_framing(self):
        """Written anew from what was understood."""
        self.assertEqual(values(to_instance(HOST, (b"Content-Length", b"007")), b"content-length"), [b"7"])
        # How a body in chunks is framed is not for the headers to say.
        self.assertEqual(values(to_instance(HOST, (b"Transfer-Encoding", b"CHUNKED")), b"transfer-encoding"), [])
        self.assertEqual(
            values(to_instance(HOST, (b"Connection", b"content-length"), (b"Content-Length", b"0")), b"content-length"),
            [b"0"],
        )

    def test_principalsCannotBreakLines(self):
        """Whatever a principal is made of."""
        headers = to_instance(HOST, principal="a\r\nX-Evil: 1@b")
        self.assertEqual(values(headers, b"x-evil"), [])
        self.assertEqual(values(headers, b"x-waiter-auth-principal"), [b"aX-Evil: 1"])

    @given(FIELDS)
    def test_whatStaysStaysAsItWas(self, fields):
        """Headers that are nobody's business are kept in order, byte by byte; no others but Waiter's come to be."""
        headers = to_instance(HOST, *fields)
        named = {b"x-one", b"x-two"} & {
            word.strip().lower() for name, value in fields if name == b"connection" for word in value.split(b",")
        }
        plain = {b"x-one", b"x-two", b"content-type"} - named
        self.assertEqual(
            [(name, value) for name, value in headers if name in plain],
            [(name.lower(), value) for name, value in fields if name.lower() in plain],
        )
        self.assertFalse({name for name, _ in headers} & HOP_BY_HOP)
        for name in (b"host", b"via", b"x-forwarded-for", b"x-waiter-auth-principal"):
            self.assertEqual(len(values(headers, name)), 1, name)
        self.assertEqual(
            [
                name
                for name, _ in headers
                if name.replace(b"_", b"-").startswith(b"x-waiter-") and b"principal" not in name
            ],
            [],
        )


class AnswerTests(SynchronousTestCase):
    def test_lines(self):
        """The status line and what is passed on."""
        answer = to_client(
            (b"Server", b"it"),
            (b"Connection", b"X-Gone"),
            (b"X-Gone", b"1"),
            (b"Keep-Alive", b"x"),
            (b"X-Waiter-Backend-Id", b"x"),
            (b"Set-Cookie", b"a=1"),
            (b"Set-Cookie", b"x-waiter-auth=1"),
            (b"Via", b"1.1 a"),
            (b"Content-Length", b"5"),
            reason=b"Fi\x01ne\xe9",
        )
        self.assertEqual(
            answer.lines,
            b"HTTP/1.1 200 Fine\xe9\r\nServer: it\r\nSet-Cookie: a=1\r\nContent-Length: 5\r\nvia: 1.1 a, HTTP/1.1 waiter/1\r\n",
        )
        self.assertEqual((answer.content_length, answer.length, answer.keep_alive, answer.has_cid), (5, 5, True, False))

    def test_noBody(self):
        """Where there is never a body a length is none, and is not passed on where it may not be."""
        for status, shown in ((204, False), (304, True), (101, False)):
            answer = to_client((b"Content-Length", b"5"), status=status)
            self.assertEqual((answer.bodiless, answer.length, b"Content-Length" in answer.lines), (True, 0, shown))

    def test_keepAlive(self):
        """The instance's connection."""
        self.assertTrue(to_client().keep_alive)
        self.assertFalse(to_client((b"Connection", b"Close")).keep_alive)
        self.assertFalse(to_client(minor=0).keep_alive)
        self.assertTrue(to_client((b"Connection", b"keep-alive"), minor=0).keep_alive)

    def test_refused(self):
        """Answers that cannot be passed on."""
        self.assertRaises(InstanceFailed, to_client, status=99)
        self.assertRaises(InstanceFailed, to_client, (b"Transfer-Encoding", b"gzip"))
        self.assertRaises(InstanceFailed, to_client, (b"Transfer-Encoding", b"gzip, chunked"))

    def test_heads(self):
        """What depends on the client."""
        known, unknown = to_client((b"Content-Length", b"5")), to_client()
        for answer, minor, head_only, keep, expected in (
            (known, 1, False, True, (True, False, [], [])),
            (known, 1, False, False, (False, False, [b"close"], [])),
            (known, 0, False, True, (True, False, [b"keep-alive"], [])),
            (unknown, 1, False, True, (True, True, [], [b"chunked"])),
            (unknown, 0, False, True, (False, False, [b"close"], [])),
            (unknown, 1, True, True, (True, False, [], [])),
        ):
            kept, chunking, top = client_head(answer, minor=minor, head_only=head_only, keep=keep, cid=b"c")
            headers = parse(top)[1]
            self.assertEqual(
                (kept, chunking, values(headers, b"connection"), values(headers, b"transfer-encoding")), expected
            )
            self.assertEqual(values(headers, b"x-cid"), [b"c"])

    @given(FIELDS)
    def test_nothingOfTheConnectionGetsThrough(self, fields):
        """Whatever an instance sends."""
        headers = parse(to_client(*fields).lines + b"\r\n")[1]
        self.assertFalse({name for name, _ in headers} & HOP_BY_HOP)
        self.assertEqual([name for name, _ in headers if name.startswith(b"x-waiter-")], [])
        self.assertEqual(len(values(headers, b"via")), 1)


# What RFC 7230 forbids behind a chunked body, and what says who asks.
FORBIDDEN_TRAILERS = (
    b"Transfer-Encoding Content-Length Host Cache-Control Expect Max-Forwards Pragma Range TE If-Match If-None-Match "
    b"If-Modified-Since If-Unmodified-Since If-Range Authorization Proxy-Authorization Proxy-Authenticate WWW-Authenticate "
    b"Cookie Set-Cookie Age Date Expires Location Retry-After Vary Warning Content-Encoding Content-Type Content-Range "
    b"Trailer Connection Keep-Alive Proxy-Connection Upgrade Via X-Cid Forwarded Origin X-Forwarded-For X-Forwarded-Host "
    b"X-Forwarded-Port X-Forwarded-Proto X-Forwarded-Prefix X-Waiter-Cmd X-Waiter-Auth-Principal"
).split()


class TrailerTests(SynchronousTestCase):
    def test_noneThatIsForbidden(self):
        """However they are written."""
        for name in FORBIDDEN_TRAILERS:
            for written in (name, name.lower(), name.upper(), name.replace(b"-", b"_")):
                self.assertEqual(trailer_lines([(written, b"x")]), b"", written)

    def test_onlyHarmlessOnes(self):
        """What frames, routes or says who asks is not passed on."""
        self.assertEqual(
            trailer_lines(
                [
                    (b"X-Sum", b"1 "),
                    (b"Content-Length", b"5"),
                    (b"content_length", b"5"),
                    (b"Host", b"x"),
                    (b"X-Waiter-Cmd", b"x"),
                    (b"Authorization", b"x"),
                    (b"Set-Cookie", b"x"),
                    (b"Connection", b"x"),
                    (b"grpc-status", b"0"),
                ]
            ),
            b"X-Sum: 1\r\ngrpc-status: 0\r\n",
        )


class SafeTests(SynchronousTestCase):
    @given(st.binary())
    def test_nothingEndsALine(self, value):
        """No control character but the tab is left."""
        self.assertFalse(set(safe(value)) & (set(range(32)) - {9} | {127}))
