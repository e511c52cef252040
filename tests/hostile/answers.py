"""What an instance might answer instead of one plain answer."""

import attrs


@attrs.frozen
class Reply:
    """
    What an instance sends for one request.

    @ivar family: what it tries.
    @ivar data: the bytes.
    @ivar ends: it closes the connection behind them.
    @ivar bodies: what the client may take for the body of a successful answer; otherwise it gets a 502, or an answer that
        visibly breaks off.
    @ivar kept: whether the connection may be used again.
    """

    family: str
    data: bytes
    ends: bool = False
    bodies: tuple = ()
    kept: bool = False


OK = b"HTTP/1.1 200 OK\r\n"
EXTRA = OK + b"Content-Length: 5\r\n\r\nextra"


def framed(*lines, body=b"hello", start=OK):
    return start + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def framings():
    """Where the body ends."""
    chunked = b"5\r\nhello\r\n0\r\n\r\n"
    for lines in (
        (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Content-Length: 5"),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
        (b"Transfer-Encoding: gzip, chunked",),
        (b"Transfer-Encoding: chunked, gzip",),
        (b"Transfer-Encoding: identity",),
        (b"Transfer-Encoding: xchunked",),
        (b"Transfer-Encoding:",),
        (b"Transfer-Encoding : chunked",),
        (b"Transfer-Encoding:\x0bchunked",),
        (b"Transfer-Encoding: chunked\x00",),
        (b"X: y\r\n Transfer-Encoding: chunked",),
        (b"X: y\nTransfer-Encoding: chunked",),
        (b"X: y\rTransfer-Encoding: chunked",),
    ):
        yield Reply("framing of answers", framed(*lines, body=chunked))
        yield Reply("framing of answers", framed(*lines, body=chunked), ends=True)
    for lengths in (
        (b"5", b"6"),
        (b"5", b"5"),
        (b"5, 5",),
        (b"+5",),
        (b"-5",),
        (b"0x5",),
        (b"5.0",),
        (b"five",),
        (b"",),
        (b"5\x00",),
        (b"5 5",),
        (b"9" * 20,),
        (b"9" * 40,),
        (b"18446744073709551621",),
    ):
        lines = [b"Content-Length: " + length for length in lengths]
        yield Reply("lengths of answers", framed(*lines))
        yield Reply("lengths of answers", framed(*lines), ends=True)
    for chunk in (
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhellox\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"g\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b"ffffffffffffffff5\r\nhello\r\n0\r\n\r\n",
        b"5;a=b\nx\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\n\n",
        b"5\r\nhello\r\n0\r\nX : y\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX: \x00\r\n\r\n",
        b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
    ):
        yield Reply("chunks of answers", framed(b"Transfer-Encoding: chunked", body=chunk))
    for chunk in (b"5\r\nhel", b"5\r\nhello\r\n", b"5\r\nhello\r\n0\r\n", b"5", b"5\r\nhello\r\n0\r\nX: y\r\n", b""):
        yield Reply("chunks of answers", framed(b"Transfer-Encoding: chunked", body=chunk), ends=True)
    yield Reply("lengths of answers", framed(b"Content-Length: 6"), ends=True)
    yield Reply("lengths of answers", framed(b"Content-Length: 5"), bodies=(b"hello",), kept=True)
    yield Reply("chunks of answers", framed(b"Transfer-Encoding: chunked", body=chunked), bodies=(b"hello",), kept=True)
    yield Reply("framing of answers", framed(), ends=True, bodies=(b"hello",))


def heads():
    """Status lines and headers."""
    for start in (
        b"HTTP/1.1 200 OK\n",
        b"HTTP/1.1\r\n",
        b"HTTP/1.1 OK\r\n",
        b"HTTP/1.1 20 OK\r\n",
        b"HTTP/1.1 2000 OK\r\n",
        b"HTTP/1.1 099 OK\r\n",
        b"HTTP/1.1 000 OK\r\n",
        b"HTTP/1.1 -200 OK\r\n",
        b"HTTP/1.1 +200 OK\r\n",
        b"HTTP/1.1 0x200 OK\r\n",
        b"HTTP/1.1 2OO OK\r\n",
        b"HTTP/1.1\t200 OK\r\n",
        b"HTTP/1.1200 OK\r\n",
        b"HTTP/2 200 OK\r\n",
        b"HTTP/2.0 200 OK\r\n",
        b"HTTP/0.9 200 OK\r\n",
        b"HTTP/1.2 200 OK\r\n",
        b"HTTP/1.10 200 OK\r\n",
        b"http/1.1 200 OK\r\n",
        b"HTTP 200 OK\r\n",
        b"200 OK\r\n",
        b" HTTP/1.1 200 OK\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"<html>hello</html>",
        b"\x16\x03\x01\x02\x00",
        b"\x00",
        b"GET / HTTP/1.1\r\n",
        b"HTTP/1.1 200 O\rK\r\n",
    ):
        yield Reply("status lines", framed(b"Content-Length: 5", start=start), ends=True)
    # What does not belong into a reason is left out of it.
    for start in (b"HTTP/1.1 200 O\x00K\r\n", b"HTTP/1.1 200 \x1b[0m\r\n", b"HTTP/1.1 200\r\n", b"HTTP/1.1 200 \r\n"):
        yield Reply("status lines", framed(b"Content-Length: 5", start=start), bodies=(b"hello",), kept=True)
    for line in (
        b"X: a\x00b",
        b"X\x00: a",
        b"X: a\rb",
        b"X: a\r\rb",
        b"X: a\nY: b",
        b"X: a\r\n b",
        b"X: a\r\n\tb",
        b" X: a",
        b"X : a",
        b"X\t: a",
        b"X",
        b": a",
        b"X y: a",
        b"X(: a",
        b"\xffX: a",
        b"X: \x01",
        b"X: \x7f",
        b"X: \x0b",
        b"X: \x1b[31m",
        b"Set-Cookie: a=b\rSet-Cookie: c=d",
        b"Location: /\nX: y",
        b"X: a\r",
    ):
        yield Reply("headers of answers", framed(line, b"Content-Length: 5"))
        yield Reply("headers of answers", framed(b"Content-Length: 5", line))


def surplus():
    """More than was asked for."""
    plain = framed(b"Content-Length: 5")
    chunked = framed(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n")
    for whole in (plain, chunked):
        for extra in (
            EXTRA,
            b"x",
            b"\x00",
            b"HTTP/1.1 ",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b" ",
            b"0\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
        ):
            yield Reply("behind an answer", whole + extra, bodies=(b"hello",))
        # Empty lines are nothing that could be taken for an answer.
        for extra in (b"\r\n", b"\n", b"\r\n\r\n"):
            yield Reply("behind an answer", whole + extra, bodies=(b"hello",), kept=True)
    for status in (b"204 No Content", b"304 Not Modified"):
        for extra in (EXTRA, b"x", b"hello"):
            yield Reply("behind an answer", framed(start=b"HTTP/1.1 %b\r\n" % status, body=extra), bodies=(b"",))
    informational = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    for number in (1, 2, 20):
        yield Reply("informational answers", informational * number + plain, bodies=(b"hello",), kept=True)
        yield Reply(
            "informational answers", b"HTTP/1.1 100 Continue\r\n\r\n" * number + plain, bodies=(b"hello",), kept=True
        )
        yield Reply("informational answers", informational * number, ends=True)
    for status in (b"101 Switching Protocols", b"101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x"):
        yield Reply("informational answers", framed(start=b"HTTP/1.1 %b\r\n" % status, body=EXTRA))
        yield Reply("informational answers", framed(start=b"HTTP/1.1 %b\r\n" % status, body=b""), ends=True)
    for lines in (
        (b"Content-Length: 5",),
        (b"Transfer-Encoding: chunked",),
        (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        (b"X: \x00",),
        (b"X : y",),
        (b"X: y\r\n z",),
    ):
        for start in (b"HTTP/1.1 103 Early Hints\r\n", b"HTTP/1.1 102 Processing\r\n", b"HTTP/1.1 199 X\r\n"):
            yield Reply("informational answers", framed(*lines, start=start, body=b"") + plain)
            yield Reply("informational answers", framed(*lines, start=start, body=plain) + plain)
    for status in (b"104", b"150", b"199 X"):
        informed = framed(start=b"HTTP/1.1 %b\r\n" % status, body=b"")
        yield Reply("informational answers", informed + plain, bodies=(b"hello",), kept=True)
    for status in (b"204", b"304"):
        for lines in ((b"Content-Length: 5",), (b"Transfer-Encoding: chunked",)):
            start = b"HTTP/1.1 %b\r\n" % status
            yield Reply("behind an answer", framed(*lines, start=start, body=b""), bodies=(b"",), kept=True)
            yield Reply("behind an answer", framed(*lines, start=start, body=EXTRA), bodies=(b"",))
            yield Reply("behind an answer", framed(*lines, start=start, body=b"5\r\nhello\r\n0\r\n\r\n"), bodies=(b"",))
    yield Reply("informational answers", b"HTTP/1.1 103 X\r\nX: %b\r\n\r\n" % (b"y" * 2000) * 2000)


REPLIES = (*framings(), *heads(), *surplus())
