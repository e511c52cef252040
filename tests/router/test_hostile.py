"""
Requests that could be understood in two ways, sent raw, and judged by the bytes an instance gets: they are refused and the
connection closed, or they are passed on in one form that cannot be misunderstood.
"""

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.router.world import World, ok, values

HOST = b"Host: app.example\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: app.example\r\n\r\n"
NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


def judge(stream):
    """The requests in what an instance got, by the strictest reading there is."""
    requests = []
    while stream:
        top, end, stream = stream.partition(b"\r\n\r\n")
        assert end, stream
        first, *lines = top.split(b"\r\n")
        match = re.fullmatch(rb"([A-Z]+) (\S+) HTTP/1\.1", first)
        assert match, first
        headers = []
        for line in lines:
            name, colon, value = line.partition(b":")
            assert colon and NAME.fullmatch(name) and VALUE.fullmatch(value), line
            headers.append((name.lower(), value.strip(b" \t")))
        assert len(values(headers, b"host")) == 1, headers
        lengths, codings = values(headers, b"content-length"), values(headers, b"transfer-encoding")
        assert len(lengths) + len(codings) <= 1, headers
        body = b""
        if lengths:
            assert lengths[0].isdigit(), lengths
            body, stream = stream[: int(lengths[0])], stream[int(lengths[0]) :]
        elif codings:
            assert codings == [b"chunked"], codings
            body, stream = read_chunks(stream)
        requests.append((match[1], match[2], headers, body))
    return requests


def read_chunks(stream):
    body = b""
    while True:
        size, end, stream = stream.partition(b"\r\n")
        assert end and re.fullmatch(rb"[0-9a-f]+", size), size
        length = int(size, 16)
        if not length:
            while not stream.startswith(b"\r\n"):
                line, end, stream = stream.partition(b"\r\n")
                assert end, line
            return body, stream[2:]
        body += stream[:length]
        assert stream[length : length + 2] == b"\r\n", stream
        stream = stream[length + 2 :]


def without_ids(requests):
    """What is the same each time the same requests are sent."""
    return [
        (method, target, [header for header in headers if header[0] != b"x-cid"], body)
        for method, target, headers, body in requests
    ]


def send(stream, pieces=None):
    """What the instance understood, the client's connection, and what it got."""
    world = World()
    client = world.client()
    for piece in pieces or [stream]:
        client.deliver(piece)
        world.step()
    got = b""
    for _ in range(6):
        for wire in world.instances.wires:
            got += wire.take()
            responder = client.protocol.responder
            if wire.protocol.asker is not None and responder is not None and responder.request.complete:
                wire.deliver(ok())
        world.step()
    broken = any(wire.end == "aborted" for wire in world.instances.wires)
    return got, broken, client


class HostileTests(SynchronousTestCase):
    def check_refused(self, *streams, status=b"400"):
        """Nothing reaches an instance as a whole request, and the connection is closed with an error."""
        for stream in streams:
            for pieces in ([stream], [bytes([byte]) for byte in stream]):
                got, broken, client = send(stream, pieces)
                self.assertTrue(got == b"" or broken, (stream, got))
                self.assertNotIn(b"GET /smuggled", got)
                answers = re.findall(rb"(?m)^HTTP/1\.1 (\d\d\d)", client.take())
                self.assertIn(answers[-1:], ([status], []) if got else ([status],), stream)
                self.assertTrue(client.half or client.end, stream)

    def check_requests(self, stream, *expected):
        """The instance gets these targets and bodies and no others."""
        for pieces in ([stream], [bytes([byte]) for byte in stream]):
            got, _, _client = send(stream, pieces)
            self.assertEqual([(target, body) for _, target, _, body in judge(got)], list(expected), stream)

    def test_lengthAndChunks(self):
        """Both a length and chunks."""
        for length in (b"0", b"3", b"5", b"44", b"+5", b"5 "):
            for first, second in (
                (b"Content-Length: %b\r\n", b"Transfer-Encoding: chunked\r\n"),
                (b"Content-length:%b\r\n", b"TRANSFER-ENCODING:chunked\r\n"),
            ):
                for lines in (first % length + second, second + first % length):
                    self.check_refused(b"POST / HTTP/1.1\r\n" + HOST + lines + b"\r\n0\r\n\r\n" + SMUGGLED)

    def test_severalLengths(self):
        """More than one length, alike or not."""
        for one, two in ((b"5", b"5"), (b"5", b"6"), (b"0", b"44"), (b"44", b"0"), (b"5", b"")):
            self.check_refused(
                b"POST / HTTP/1.1\r\n%bContent-Length: %b\r\nContent-Length: %b\r\n\r\nhello" % (HOST, one, two)
                + SMUGGLED
            )

    def test_strangeLengths(self):
        """A length that is not a plain number."""
        for length in (
            b"",
            b"+5",
            b"-5",
            b"-0",
            b"5,5",
            b"5, 5",
            b"0x5",
            b"5.0",
            b"5e0",
            b"five",
            b"5;",
            b'"5"',
            b"5 5",
            b"\x0b5",
            b"5\x00",
            b"9" * 30,
            b"18446744073709551621",
            b"\xb2",
            b"_5",
            b"5_0",
            b"0 5",
        ):
            self.check_refused(b"POST / HTTP/1.1\r\n%bContent-Length: %b\r\n\r\nhello" % (HOST, length) + SMUGGLED)

    def test_plainLengths(self):
        """White space around a length and leading zeros change nothing."""
        for length in (b"5", b" 5", b"5 ", b"\t5", b"5\t", b"05", b"0000005"):
            self.check_requests(
                b"POST / HTTP/1.1\r\n%bContent-Length:%b\r\n\r\nhello" % (HOST, length)
                + SMUGGLED.replace(b"smug", b"s"),
                (b"/", b"hello"),
                (b"/sgled", b""),
            )

    def test_strangeCodings(self):
        """A transfer coding that some might take for chunked and others not."""
        for coding in (
            b"gzip, chunked",
            b"gzip,chunked",
            b"identity, chunked",
            b"chunked, chunked",
            b", chunked",
            b"chunked, gzip",
            b"chunked, identity",
            b"chunked;q=1",
            b"chunked,",
            b"gzip",
            b"xchunked",
            b"chunkedx",
            b"identity",
            b'"chunked"',
            b"'chunked'",
            b"chunk",
            b"",
            b"chunked\x0b",
            b"chunked chunked",
        ):
            got, _, client = send(
                b"POST / HTTP/1.1\r\n%bTransfer-Encoding: %b\r\n\r\n0\r\n\r\n" % (HOST, coding) + SMUGGLED
            )
            self.assertEqual(got, b"", coding)
            self.assertIn(client.take()[9:12], (b"400", b"501"))
            self.assertTrue(client.half or client.end)

    def test_severalCodings(self):
        """Several Transfer-Encoding headers."""
        for one, two in (
            (b"chunked", b"chunked"),
            (b"chunked", b"identity"),
            (b"identity", b"chunked"),
            (b"chunked", b"x"),
            (b"", b"chunked"),
        ):
            got, _broken, client = send(
                b"POST / HTTP/1.1\r\n%bTransfer-Encoding: %b\r\nTransfer-Encoding: %b\r\n\r\n0\r\n\r\n"
                % (HOST, one, two)
                + SMUGGLED
            )
            self.assertEqual(got, b"")
            self.assertIn(client.take()[9:12], (b"400", b"501"))
            self.assertTrue(client.half or client.end)

    def test_disguisedCodings(self):
        """A Transfer-Encoding that is written so that only some see it."""
        for line in (
            b"Transfer-Encoding : chunked",
            b" Transfer-Encoding: chunked",
            b"X: y\r\n Transfer-Encoding: chunked",
            b"Transfer-Encoding\t: chunked",
            b"Transfer-Encoding:\x0bchunked",
            b"Transfer-Encoding:\x00chunked",
            b"X: y\rTransfer-Encoding: chunked",
            b"X: y\nTransfer-Encoding: chunked",
            b"Transfer\x00-Encoding: chunked",
            b"Transfer-Encoding: chunked\x00",
            b"Transfer-Encoding: chun\r\n ked",
            b"Transfer-Encoding\r\n: chunked",
            b"Transfer-Encoding: \r\n chunked",
            b"\x0bTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r",
        ):
            self.check_refused(b"POST / HTTP/1.1\r\n%b%b\r\n\r\n0\r\n\r\n" % (HOST, line) + SMUGGLED)
            self.check_refused(
                b"POST / HTTP/1.1\r\n%bContent-Length: 5\r\n%b\r\n\r\n0\r\n\r\n" % (HOST, line) + SMUGGLED
            )

    def test_lookAlikes(self):
        """Headers that an application might take for framing or for Waiter's own are not passed on."""
        stream = (
            b"POST / HTTP/1.1\r\n%bTransfer_Encoding: chunked\r\nContent_Length: 99\r\nX_Waiter_Auth_Principal: root\r\n"
            b"X-Waiter-Auth-Principal: root\r\nX_Forwarded_For: 1.2.3.4\r\nProxy-Connection: x\r\nContent-Length: 5\r\n\r\nhello"
        ) % HOST
        got, _, _ = send(stream)
        ((_, _, headers, body),) = judge(got)
        self.assertEqual(body, b"hello")
        self.assertEqual([name for name, _ in headers if b"_" in name], [])
        self.assertEqual(values(headers, b"x-waiter-auth-principal"), [b"alice"])
        self.assertEqual(values(headers, b"proxy-connection"), [])

    def test_http10(self):
        """Chunks in HTTP/1.0."""
        self.check_refused(b"POST / HTTP/1.0\r\n%bTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % HOST + SMUGGLED)

    def test_foldedLines(self):
        """Lines that continue the line before."""
        for fold in (b"\r\n ", b"\r\n\t", b"\n ", b"\r ", b"\r\n \r\n "):
            self.check_refused(b"GET / HTTP/1.1\r\n%bX-One: a%bb: c\r\n\r\n" % (HOST, fold) + SMUGGLED)
        self.check_refused(b"GET / HTTP/1.1\r\n Host: app.example\r\n\r\n" + SMUGGLED)

    def test_lineEnds(self):
        """Lines that end in anything but CR LF."""
        for stream in (
            b"GET / HTTP/1.1\nHost: app.example\n\n",
            b"GET / HTTP/1.1\r\nHost: app.example\n\r\n",
            b"GET / HTTP/1.1\r\nHost: app.example\r\n\n",
            b"GET / HTTP/1.1\r\nHost: app.example\n\n",
            b"GET / HTTP/1.1\rHost: app.example\r\r",
            b"GET / HTTP/1.1\r\nHost: app.example\r\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: app.example\r\nX: a\rb\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: app.example\r\nX: a\nb: c\r\n\r\n",
            b"GET / HTTP/1.1\n\rHost: app.example\r\n\r\n",
        ):
            self.check_refused(stream + SMUGGLED)

    def test_strangeHeaders(self):
        """Names and values with what does not belong there."""
        for line in (
            b"X\x00: y",
            b"X: y\x00z",
            b"X: \x01",
            b"X: \x7f",
            b": y",
            b"X",
            b"X y: z",
            b"X@: z",
            b"X(a): z",
            b"X\x80: z",
            b"\xff: z",
            b"X:\x0c y",
            b"X: \x08",
            b"[X]: y",
            b'X"Y: z',
            b"X\\Y: z",
            b"X, Y: z",
            b"{X}: y",
            b"X;Y: z",
            b"X=Y: z",
            b"X<Y: z",
        ):
            self.check_refused(b"GET / HTTP/1.1\r\n%b%b\r\n\r\n" % (HOST, line) + SMUGGLED)

    def test_hosts(self):
        """No Host, two of them, one that is none, one that the target contradicts."""
        for stream in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: app.example\r\nHost: app.example\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: app.example\r\nhost: localhost\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: app.example localhost\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: app.example/x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: app.example@localhost\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: app.example?\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: app.example#\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: \xffapp.example\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: app\\example\r\n\r\n",
            b"GET http://localhost/ HTTP/1.1\r\nHost: app.example\r\n\r\n",
            b"GET http://app.example:80/ HTTP/1.1\r\nHost: app.example\r\n\r\n",
            b"GET http://app.example/ HTTP/1.1\r\nHost:\r\n\r\n",
            b"GET http://user@app.example/ HTTP/1.1\r\nHost: app.example\r\n\r\n",
            b"GET http:/// HTTP/1.1\r\nHost: app.example\r\n\r\n",
            b"GET ftp://app.example/ HTTP/1.1\r\nHost: app.example\r\n\r\n",
            b"GET https: HTTP/1.1\r\nHost: app.example\r\n\r\n",
        ):
            self.check_refused(stream + SMUGGLED)

    def test_absoluteTargets(self):
        """A URL as the target becomes its path."""
        for target, path in (
            (b"http://app.example/a?b", b"/a?b"),
            (b"HTTP://APP.example/a", b"/a"),
            (b"https://app.example", b"/"),
            (b"http://app.example?x", b"/?x"),
        ):
            self.check_requests(b"GET %b HTTP/1.1\r\n%b\r\n" % (target, HOST), (path, b""))
        self.check_requests(b"GET http://app.example/a HTTP/1.0\r\n\r\n", (b"/a", b""))

    def test_targets(self):
        """Targets that are none."""
        for target in (
            b"",
            b"x",
            b"*",
            b"//",
            b"/#x",
            b"/a b",
            b"/\x00",
            b"/\x7f",
            b"/\xff",
            b"/a\tb",
            b"app.example:80",
            b"?x",
            b"\\",
        ):
            got, _broken, client = send(b"GET %b HTTP/1.1\r\n%b\r\n" % (target, HOST) + SMUGGLED)
            if target == b"//":
                self.assertEqual([request[1] for request in judge(got)], [b"//", b"/smuggled"])
                continue
            self.assertEqual(got, b"", target)
            self.assertEqual(client.take()[9:12], b"400", target)
            self.assertTrue(client.half or client.end)
        self.check_requests(b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", (b"*", b""))
        self.check_requests(
            b'GET /%00%0d%0a/../a//b;c?d=%zz&e="<>\\^`{|} HTTP/1.1\r\n' + HOST + b"\r\n",
            (b'/%00%0d%0a/../a//b;c?d=%zz&e="<>\\^`{|}', b""),
        )

    def test_requestLines(self):
        """Request lines with too much or too little in them."""
        for line in (
            b"GET /",
            b"GET",
            b"GET / HTTP/1.1 ",
            b"GET / HTTP/1.1x",
            b"GET / HTTP/1",
            b"GET / HTTP/11",
            b"GET / HTTP/1.10",
            b"GET / http/1.1",
            b"GET / HTTP /1.1",
            b"GET / HTTP/1 .1",
            b"GET / HTTP/0.9",
            b"GET / HTTP/1.2",
            b"GET / HTTP/2.0",
            b"GET / HTTP/3.0",
            b"GET / x HTTP/1.1",
            b"GET\t/\tHTTP/1.1",
            b"GET / HTTP/1.1\t",
            b"GET /\x0bHTTP/1.1",
            b"GET / HTTPS/1.1",
        ):
            got, _broken, client = send(line + b"\r\n" + HOST + b"\r\n" + SMUGGLED)
            self.assertEqual(got, b"", line)
            self.assertIn(client.take()[9:12], (b"400", b"501"), line)
            self.assertTrue(client.half or client.end)

    def test_methods(self):
        """Methods that nobody knows, those of other protocols, CONNECT and the preface of HTTP/2."""
        for method in (
            b"get",
            b"Get",
            b"FOO",
            b"GETT",
            b"GE",
            b"G\x00T",
            b"DESCRIBE",
            b"SETUP",
            b"SOURCE",
            b"PRI",
            b"\x16\x03\x01",
            b"G E T",
        ):
            got, _broken, client = send(method + b" / HTTP/1.1\r\n" + HOST + b"\r\n" + SMUGGLED)
            self.assertEqual(got, b"", method)
            self.assertIn(client.take()[9:12], (b"400", b"501"), method)
            self.assertTrue(client.half or client.end)
        self.check_refused(b"CONNECT app.example:443 HTTP/1.1\r\n" + HOST + b"\r\n" + SMUGGLED, status=b"405")
        self.check_refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        for method in (b"MKCOL", b"PROPFIND", b"PATCH", b"REPORT", b"TRACE", b"M-SEARCH"):
            got, _, _ = send(method + b" /x HTTP/1.1\r\n" + HOST + b"\r\n")
            self.assertTrue(got.startswith(method + b" /x HTTP/1.1\r\n"))

    def test_sizesOfChunks(self):
        """Sizes of chunks that are not plain numbers."""
        top = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
        for chunk in (
            b"0x3\r\nabc\r\n",
            b"+3\r\nabc\r\n",
            b"-3\r\nabc\r\n",
            b"3 \r\nabc\r\n",
            b" 3\r\nabc\r\n",
            b"3\t\r\nabc\r\n",
            b"g\r\n",
            b"\r\nabc\r\n",
            b"3\nabc\r\n",
            b"3\rabc\r\n",
            b"3\r\nabc",
            b"3\r\nabcd\r\n",
            b"3\r\nab\r\n",
            b"3\r\nabc\n",
            b"3\r\nabc\r",
            b"ffffffffffffffff0\r\nabc",
            b"10000000000000003\r\nabc\r\n",
            b"3.0\r\nabc\r\n",
            b"\xb33\r\nabc\r\n",
            b"3_0\r\nabc\r\n",
            b"3,3\r\nabc\r\n",
            b"3;\nabc\r\n",
            b'3;a="\r\nabc\r\n',
            b"3;a\x00\r\nabc\r\n",
            b"3;a\rb\r\nabc\r\n",
            b"3; a=b\nX\r\nabc\r\n",
        ):
            for pieces in (None, True):
                stream = top + chunk + b"0\r\n\r\n" + SMUGGLED
                got, broken, client = send(stream, [bytes([byte]) for byte in stream] if pieces else None)
                self.assertTrue(got == b"" or broken, chunk)
                self.assertNotIn(b"GET /smuggled", got)
                self.assertTrue(client.half or client.end, chunk)

    def test_chunkExtensions(self):
        """Extensions of chunks are dropped."""
        top = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
        for chunk in (
            b"3;a\r\nabc\r\n",
            b"3;a=b\r\nabc\r\n",
            b'03;a="b c"\r\nabc\r\n',
            b"0000000003\r\nabc\r\n",
            b"3;a;b=c\r\nabc\r\n",
        ):
            self.check_requests(
                top + chunk + b"0;x=y\r\n\r\n" + SMUGGLED.replace(b"smug", b"s"), (b"/", b"abc"), (b"/sgled", b"")
            )

    def test_trailers(self):
        """Trailers that would change the message."""
        top = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"
        for trailer in (b"Content-Length: 9", b"X: a\r\n b", b"X : a", b"X: a\nb: c", b"X: \x00", b": a", b"X"):
            got, broken, _client = send(top + trailer + b"\r\n\r\n" + SMUGGLED)
            self.assertTrue(got == b"" or broken, trailer)
            self.assertNotIn(b"GET /smuggled", got)
        for trailer in (
            b"Host: x",
            b"Transfer_Encoding: chunked",
            b"Authorization: x",
            b"X-Waiter-Auth-Principal: root",
            b"Connection: close",
            b"Cookie: x",
        ):
            self.check_requests(top + trailer + b"\r\n\r\n", (b"/", b"abc"))
            self.assertNotIn(trailer, send(top + trailer + b"\r\n\r\n")[0])

    def test_connectionCannotChangeTheRequest(self):
        """Naming a header in Connection removes it, but not those that say what the request is and who asks."""
        stream = (
            b"POST / HTTP/1.1\r\n%bX-Gone: 1\r\nX-Kept: 1\r\nCookie: a=b\r\nContent-Length: 5\r\nConnection: X-Gone, Host,Content-Length, "
            b"x-waiter-auth-principal, X-Forwarded-For, x-cid, cookie, via, , transfer-encoding\r\n\r\nhello"
        ) % HOST
        got, _, _ = send(stream)
        ((_, _, headers, body),) = judge(got)
        self.assertEqual(
            (body, values(headers, b"host"), values(headers, b"cookie")), (b"hello", [b"app.example"], [b"a=b"])
        )
        self.assertEqual((values(headers, b"x-gone"), values(headers, b"x-kept")), ([], [b"1"]))
        for name in (b"x-waiter-auth-principal", b"x-forwarded-for", b"x-cid", b"via"):
            self.assertEqual(len(values(headers, name)), 1, name)

    def test_upgradeWithABody(self):
        """The body of a request that wants another protocol is a body."""
        for upgrade in (b"h2c", b"websocket", b"foo, websocket", b""):
            for framing, body in (
                (b"Content-Length: %d\r\n" % len(SMUGGLED), SMUGGLED),
                (b"Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
            ):
                self.check_requests(
                    b"POST /a HTTP/1.1\r\n%bConnection: Upgrade\r\nUpgrade: %b\r\n%b\r\n%b"
                    % (HOST, upgrade, framing, body)
                    + SMUGGLED.replace(b"smug", b"s"),
                    (b"/a", SMUGGLED),
                    (b"/sgled", b""),
                )

    def test_bytesBehindTheLastRequest(self):
        """What follows a request that is the client's last is ignored."""
        for line in (b"GET / HTTP/1.1\r\n%bConnection: close\r\n\r\n" % HOST, b"GET / HTTP/1.0\r\n%b\r\n" % HOST):
            self.check_requests(line + SMUGGLED, (b"/", b""))

    @settings(max_examples=400, deadline=None)
    @given(st.data())
    def test_mutations(self, data):
        """Whatever is done to a stream of requests, the instance gets whole requests or a broken connection."""
        stream = bytearray(
            b"POST /1 HTTP/1.1\r\nHost: app.example\r\nContent-Length: 5\r\nX: y\r\n\r\nhello"
            b"PUT /2 HTTP/1.1\r\nHost: app.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: x\r\n\r\n"
            b"GET /3 HTTP/1.1\r\nHost: app.example\r\nConnection: keep-alive\r\n\r\n"
        )
        tokens = [
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
            b"\xff",
            b"Transfer-Encoding: chunked\r\n",
        ]
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, len(stream)))
            kind = data.draw(st.sampled_from(["insert", "delete", "replace"]))
            token = data.draw(st.sampled_from(tokens))
            if kind == "insert":
                stream[place:place] = token
            elif kind == "delete":
                del stream[place : place + data.draw(st.integers(1, 12))]
            else:
                stream[place : place + len(token)] = token
        stream = bytes(stream)
        got, broken, client = send(stream)
        unfinished = client.protocol.responder is not None
        if not broken and not unfinished:
            judge(got)
        bytewise, bytewise_broken, _ = send(stream, [bytes([byte]) for byte in stream])
        if not (broken or bytewise_broken or unfinished):
            self.assertEqual(without_ids(judge(got)), without_ids(judge(bytewise)))
