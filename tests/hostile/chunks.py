"""Bodies in chunks."""

from tests.hostile.case import Family, post

CHUNKED = b"Transfer-Encoding: chunked"

# The last three are malformed, but end where they end.
EXTENSIONS = (
    b";a",
    b";a=b",
    b";a=b;c=d",
    b";a;b;c",
    b';a="b"',
    b';a="b c"',
    b';a="b;c"',
    b';a="0"',
    b';a="\\""',
    b";a=0",
    b";" + b"a" * 1000,
    b";a=" + b"b" * 1000,
    b";0",
    b";Content-Length=44",
    b";;a",
    b";a=",
    b";=b",
)
BAD_EXTENSIONS = (
    b";",
    b"; a=b",
    b";a=b=c",
    b';a="',
    b';a="b',
    b';a="b"c',
    b";a\x00",
    b";a\x01b",
    b";a\x7f",
    b";a=\x00",
    b";a=b\x0b",
    b";a\rb",
    b";a\nb",
    b";\n",
    b";a=b\nX",
    b";a=b\r",
    b";a=b\n",
    b';a="\r\n"',
    b';a="b\n"',
    b" a=b",
    b" ;a=b",
    b"\t;a",
    b",a=b",
    b":a=b",
    b"=a",
    b'"a"',
    b"#a",
    b";a b",
    b";a\x80",
    b";a(b)",
)
BAD_SIZES = (
    b"",
    b" 3",
    b"3 ",
    b"\t3",
    b"3\t",
    b"+3",
    b"-3",
    b"-0",
    b"0x3",
    b"0X3",
    b"x3",
    b"3h",
    b"3x",
    b"g",
    b"3.0",
    b"3,0",
    b"3,3",
    b"3_0",
    b"3 0",
    b"3\x00",
    b"\x003",
    b"\x0b3",
    b"3\x0b",
    b"\xb3",
    b"\xb33",
    b"\xef\xbc\x93",
    b"'3'",
    b'"3"',
    b"%33",
    b"three",
    b"\n3",
    b"\r3",
    b"\r\n3",
    b"f" * 16 + b"0",
    b"1" + b"0" * 15 + b"03",
    b"1" + b"0" * 16,
    b"f" * 17,
    b"f" * 64,
    b"8" + b"0" * 16,
    b"1" + b"0" * 15 + b"3" + b"0",
)
PLAIN_SIZES = (b"3", b"03", b"003", b"0000000003", b"0" * 15 + b"3")
# Chunks of three bytes: what stands instead of the line ends, and of the body.
BAD_LINE_ENDS = (
    b"3\nabc\r\n",
    b"3\rabc\r\n",
    b"3\n\rabc\r\n",
    b"3\r\r\nabc\r\n",
    b"3\r\n\nabc\r\n",
    b"3\r\nabc",
    b"3\r\nabc\n",
    b"3\r\nabc\r",
    b"3\r\nabc\n\r",
    b"3\r\nabc\r\r\n",
    b"3\r\nabc\n\n",
    b"3\r\nabc \r\n",
    b"3\r\nabcd\r\n",
    b"3\r\nab\r\n",
    b"3\r\nabc\x00\r\n",
    b"3\r\nabcXX",
    b"3\r\nabc0\r\n",
    b"3\r\nabc;\r\n",
    b"3\r\nabc\r\n\r\n",
    b"3\r\nabc\r\n\n",
    b"3\x85abc\r\n",
    b"3 \nabc\r\n",
    b"3\r\nabc--",
)
BAD_LAST = (
    b"0\n\n",
    b"0\n\r\n",
    b"0\r\n\n",
    b"0\r\r\n",
    b"0\r\n\r\r\n",
    b"0\r\n\rX\n",
    b"0 \r\n\r\n",
    b"0\t\r\n\r\n",
    b" 0\r\n\r\n",
    b"-0\r\n\r\n",
    b"0x0\r\n\r\n",
    b"+0\r\n\r\n",
    b"0.\r\n\r\n",
    b"0\x00\r\n\r\n",
    b"0;\n\r\n",
    b"0;a\x00\r\n\r\n",
    b"0\r\n \r\n",
    b"0\r\n\t\r\n",
    b"0\r\n\x00\r\n\r\n",
    b"\r\n\r\n",
    b"g\r\n\r\n",
    b"\r\n0\r\n\r\n",
)
BAD_TRAILERS = (
    b"Content-Length: 9",
    b"Content-Length: 0",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: identity",
    b"X: a\r\n b",
    b"X: a\r\n\tb",
    b" X: a",
    b"X : a",
    b"X\t: a",
    b"X: a\nb: c",
    b"X: a\rb: c",
    b"X: a\r",
    b"X: a\n",
    b"X: \x00",
    b"X\x00: a",
    b"X: \x01",
    b"X: \x7f",
    b": a",
    b"X",
    b"X a",
    b"X(: a",
    b"\xffX: a",
    b"X\r: a",
    b"GET /smuggled HTTP/1.1",
)
# Removed: they would change how the message is read, where it goes, or who is believed to ask.
DROPPED_TRAILERS = (
    b"Host: other",
    b"Transfer_Encoding: chunked",
    b"Content_Length: 44",
    b"Keep-Alive: timeout=1",
    b"Upgrade: websocket",
    b"TE: trailers",
    b"Trailer: x",
    b"Range: bytes=0-1",
    b"If-Match: *",
    b"Location: http://other/",
    b"Forwarded: for=1.2.3.4",
    b"Origin: http://other",
    b"Authorization: Basic d2FpdGVyOng=",
    b"Proxy-Authorization: x",
    b"Cookie: a=b",
    b"Set-Cookie: a=b",
    b"Expect: 100-continue",
    b"Via: 1.1 x",
    b"X-Forwarded-For: 1.2.3.4",
    b"X_Forwarded_For: 1.2.3.4",
    b"X-Cid: x",
    b"X-Waiter-Auth-Principal: root",
    b"X_Waiter_Auth_Principal: root",
    b"Content-Type: text/html",
    b"Content-Encoding: gzip",
    b"Cache-Control: no-store",
    b"Content-Range: bytes 0-1/2",
)


def extensions():
    """What may follow a size."""
    family = Family("chunk extensions")
    for extension in EXTENSIONS:
        body = b"3%b\r\nabc\r\n0\r\n\r\n" % extension
        family.served(post(CHUNKED, body=body), (b"POST", b"/", b"abc"))
        body = b"3\r\nabc\r\n0%b\r\n\r\n" % extension
        family.served(post(CHUNKED, body=body), (b"POST", b"/", b"abc"))
    for extension in BAD_EXTENSIONS:
        family.refused(post(CHUNKED, body=b"3%b\r\nabc\r\n0\r\n\r\n" % extension))
    return family.cases


def sizes():
    """Sizes that are no plain numbers, or no sizes that there are."""
    family = Family("chunk sizes")
    for size in BAD_SIZES:
        family.refused(post(CHUNKED, body=b"%b\r\nabc\r\n0\r\n\r\n" % size))
        family.refused(post(CHUNKED, body=b"2\r\nxy\r\n%b\r\nabc\r\n0\r\n\r\n" % size))
    for size in PLAIN_SIZES:
        family.served(post(CHUNKED, body=b"%b\r\nabc\r\n0\r\n\r\n" % size), (b"POST", b"/", b"abc"))
    for size in (b"a", b"A", b"0a", b"0A"):
        family.served(post(CHUNKED, body=b"%b\r\n0123456789\r\n0\r\n\r\n" % size), (b"POST", b"/", b"0123456789"))
    return family.cases


def terminators():
    """How chunks end, and the last one."""
    family = Family("chunk terminators")
    for chunk in BAD_LINE_ENDS:
        family.refused(post(CHUNKED, body=chunk + b"0\r\n\r\n"))
    for last in BAD_LAST:
        family.refused(post(CHUNKED, body=b"3\r\nabc\r\n" + last))
    for last in (b"0\r\n\r\n", b"00\r\n\r\n", b"0" * 15 + b"\r\n\r\n"):
        family.served(post(CHUNKED, body=b"3\r\nabc\r\n" + last), (b"POST", b"/", b"abc"))
    return family.cases


def trailers():
    """What may follow the last chunk."""
    family = Family("trailers")
    start = b"3\r\nabc\r\n0\r\n"
    for trailer in BAD_TRAILERS:
        family.refused(post(CHUNKED, body=start + trailer + b"\r\n\r\n"))
        family.refused(post(CHUNKED, b"Trailer: X", body=start + b"Y: z\r\n" + trailer + b"\r\n\r\n"))
    for trailer in DROPPED_TRAILERS:
        family.served(post(CHUNKED, body=start + trailer + b"\r\n\r\n"), (b"POST", b"/", b"abc"))
    # It means something to the parser, even there: nothing more is read.
    for trailer in (b"Connection: close", b"Proxy-Connection: close"):
        family.refused(post(CHUNKED, body=start + trailer + b"\r\n\r\n"), (b"POST", b"/", b"abc"))
    for trailer in (b"X-Sum: 1", b"X:", b"X: \xff", b"x-one: 1\r\nx-two: 2"):
        family.served(post(CHUNKED, body=start + trailer + b"\r\n\r\n"), (b"POST", b"/", b"abc"))
    return family.cases
