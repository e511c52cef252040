"""Where lines end, and what may stand in them."""

from tests.hostile.case import HOST, LAST, SERVICE, Family, get, post

START = b"GET / HTTP/1.1\r\n"
# What takes the place of the end of a line, in each of these places.
PLACES = (
    (b"GET / HTTP/1.1", HOST + b"X: y\r\n\r\n"),
    (START + b"Host: app.example", SERVICE + b"X: y\r\n\r\n"),
    (START + HOST + b"X: y", b"Z: z\r\n\r\n"),
    (START + HOST + b"X: y", b"Content-Length: 44\r\n\r\n"),
    (START + HOST + b"X: y", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (START + HOST + b"X:", b"Z: z\r\n\r\n"),
    (START + HOST + b"X: y\r\n", b""),
    (START + HOST + b"X: y", b"\r\n"),
)
FOLDS = (b"\r\n ", b"\r\n\t", b"\r\n  ", b"\r\n \t", b"\r\n \r\n ", b"\r\n\t\r\n\t", b"\n ", b"\r ", b"\r\n\x0b")
FOLDED = (
    b"X: a%bb",
    b"X:%bb",
    b"X: a%b",
    b"X: a%bContent-Length: 44",
    b"X: a%bTransfer-Encoding: chunked",
    b"Content-Length: 0%b44",
    b"Connection: keep-alive%b, close",
)
CONTROLS = [bytes([code]) for code in (*range(9), 11, 12, *range(14, 32), 127)]
NAMES = (
    b"",
    b" ",
    b"X y",
    b"X\ty",
    b"X@",
    b"X(a)",
    b"X)",
    b"[X]",
    b"{X}",
    b'X"y',
    b"X\\y",
    b"X/y",
    b"X, Y",
    b"X;Y",
    b"X=Y",
    b"X<Y",
    b"X>Y",
    b"X?Y",
    b"X\x80",
    b"\xff",
    b"\xc3\xa9",
    b"X\xa0",
    b"\xef\xbb\xbfX",
    b"\xe2\x80\x8bX",
    b"Content-Length\xa0",
    b"Content-Length\x85",
)
TOKENS = (b"X", b"x", b"!#$%&'*+.^_`|~", b"0", b"-", b"X.Y", b"X_Y", b"X-", b"a" * 300)
SPACED = (
    b"Content-Length",
    b"content-length",
    b"Transfer-Encoding",
    b"Host",
    b"Connection",
    b"Upgrade",
    b"Expect",
    b"X",
    b"Cookie",
    b"Trailer",
)


def folding():
    """Lines that continue the one before."""
    family = Family("folding")
    for fold in FOLDS:
        for line in FOLDED:
            family.refused(get(line % fold))
    family.refused(START + b" " + HOST + b"\r\n")
    family.refused(START + b"\t" + HOST + b"\r\n")
    family.refused(START + b" X: y\r\n" + HOST + b"\r\n")
    family.refused(b"GET /\r\n HTTP/1.1\r\n" + HOST + b"\r\n")
    family.refused(b"GET\r\n / HTTP/1.1\r\n" + HOST + b"\r\n", status=(b"501",))
    return family.cases


def line_ends(name, ends):
    """Ends of lines other than CR LF."""
    family = Family(name)
    for end in ends:
        for before, after in PLACES:
            family.refused(before + end + after)
    return family


def bare_lf():
    """LF alone."""
    family = line_ends("bare LF", (b"\n", b"\n\n", b" \n", b"\n\r"))
    family.refused(b"GET / HTTP/1.1\nHost: app.example\n\n")
    for line in (b"X: a\nb", b"X: \n", b"X\n: y", b"\nX: y", b"X: y\n"):
        family.refused(get(line))
    family.refused(get().replace(b"\r\n", b"\n"))
    return family.cases


def bare_cr():
    """CR alone."""
    family = line_ends("bare CR", (b"\r", b"\r\r", b"\r\r\n", b"\r \r\n"))
    for line in (b"X: a\rb", b"X: \ra", b"X\r: y", b"\rX: y", b"X: y\r", b"Content-Length: 0\r", b"X:\ry"):
        family.refused(get(line))
    family.refused(get().replace(b"\r\n", b"\r"))
    return family.cases


def controls():
    """NUL and the others, in names, values, targets and the rest of the first line."""
    family = Family("control bytes")
    for code in CONTROLS:
        family.refused(get(b"X%b: y" % code))
        family.refused(get(b"X: y%bz" % code))
        family.refused(get(b"X: %b" % code))
        family.refused(get(target=b"/a%bb" % code))
        family.refused(b"GET /%bHTTP/1.1\r\n%b\r\n" % (code, HOST))
        family.refused(b"GET / HTTP/1.1%b\r\n%b\r\n" % (code, HOST))
        family.refused(START + b"Host: app%b.example\r\n" % code + SERVICE + b"\r\n")
    family.served(get(b"X: a\tb", b"Y:\tz\t"), (b"GET", b"/", b""))
    family.served(get(b"X: \x80\xff\xa0\x85"), (b"GET", b"/", b""))
    return family.cases


def spaces():
    """White space between a name and its colon."""
    family = Family("spaces before colons")
    for name in SPACED:
        for space in (b" ", b"\t", b"  "):
            family.refused(get(name + space + b": 5"))
        family.refused(get(b" " + name + b": 5"))
    family.refused(START + b"Host : app.example\r\n" + SERVICE + b"\r\n")
    family.refused(post(b"Content-Length : 5", b"Content-Length: 0", body=b"hello"))
    for line in (b"X:y", b"X: y", b"X:\ty", b"X:   y  ", b"X:", b"X: "):
        family.served(get(line), (b"GET", b"/", b""))
    return family.cases


def names():
    """What is no name of a header, and strange ones that are."""
    family = Family("header names")
    for name in NAMES:
        family.refused(get(name + b": y"))
        family.refused(get(b"Y: z", name + b": y", b"Content-Length: 0"))
    for line in (b"X", b"X y", b"=", b"GET /smuggled HTTP/1.1", b"\\X: y", b"X\\: y"):
        family.refused(get(line))
    for name in TOKENS:
        family.served(get(name + b": y"), (b"GET", b"/", b""))
    return family.cases


def remainders():
    """What follows a request on its connection."""
    family = Family("remainders")
    request = get(target=b"/first")
    served = (b"GET", b"/first", b"")
    for rest in (
        b" ",
        b"\t",
        b"\x00",
        b"0\r\n\r\n",
        b"x",
        b"hello",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"get / HTTP/1.1\r\n",
        b" GET / HTTP/1.1\r\n",
        b"\xff\xff",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET\r\n",
        b"GET /\r\n",
        b"X: y\r\n\r\n",
        b": ",
        b"{}",
        b"<x/>",
        b"\x81\x00",
        b"\r\n \r\n",
    ):
        family.refused(request + rest, served, status=(b"400", b"501"))
        family.refused(
            post(b"Content-Length: 5", body=b"hello" + rest), (b"POST", b"/", b"hello"), status=(b"400", b"501")
        )
    # Empty lines may stand before a request; however they end, they are not passed on.
    for lines in (b"\r\n", b"\r\n\r\n", b"\r\n" * 5, b"\n", b"\r", b"\n\r"):
        family.served(request + lines + request, served, served)
        family.served(lines + request, served)
    for close in (b"close", b"Close", b"keep-alive, close", b"close, x", b"x,close", b" close "):
        family.final(get(b"Connection:" + close, target=b"/first"), served)
        family.final(get(b"Connection:" + close, target=b"/first") + LAST, served)
    # The parser knows this one, too.
    family.refused(get(b"Proxy-Connection: close", target=b"/first"), served)
    family.final(b"GET /first HTTP/1.0\r\n%b\r\n" % HOST, served)
    for number in (2, 20, 40):
        family.served(request * number, *[served] * number)
    return family.cases
