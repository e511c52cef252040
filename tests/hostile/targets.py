"""Whom a request is for: hosts, targets, methods, versions, other protocols."""

from tests.hostile.case import BAD, HOST, NOT_ALLOWED, NOT_KNOWN, SERVICE, Family, get, post

ROOT = (b"GET", b"/", b"")
BAD_HOSTS = (
    b"user@app.example",
    b"user:password@app.example",
    b"app.example@localhost",
    b"@app.example",
    b"app.example/",
    b"app.example/x",
    b"/app.example",
    b"http://app.example",
    b"app.example?",
    b"app.example#",
    b"app.example x",
    b"app.example localhost",
    b"app\texample",
    b"app\\example",
    b"app.example\\",
    b"\xffapp.example",
    b"app.example\xa0",
    b"\xef\xbd\x81pp.example",
    b"app.example\x00",
    b"app\x0bexample",
    b'"app.example"',
    b"<app.example>",
    b"{app.example}",
    b"app^example",
    b"app|example",
    b"app`example",
)
BAD_PORTS = (b":x", b":-1", b":+80", b":8 0", b":80:80", b":0x50", b":99999999", b":65536", b":80/", b":80@x", b":\xb2")
BAD_TARGETS = (
    b"",
    b"x",
    b"x/y",
    b"*",
    b"?x",
    b"#",
    b"/#x",
    b"/a#",
    b"/a b",
    b"/a\tb",
    b"\\",
    b"\\\\app.example\\",
    b"app.example:80",
    b"localhost",
    b"http:",
    b"http:/",
    b"http://",
    b"http:///",
    b"http:///x",
    b"http://?x",
    b"http:app.example",
    b"ftp://app.example/",
    b"file:///etc/passwd",
    b"gopher://app.example/",
    b"javascript:x",
    b"ws://app.example/",
    b"://app.example/",
    b"/\xff",
    b"/\x00",
    b"/\x7f",
    b"/\x80",
    b"\xff",
    b"@app.example/",
    b"../x",
    b".",
    b"%2f",
    b'"/"',
    b"<x>",
)
KEPT_TARGETS = (
    b"//",
    b"///x",
    b"//localhost/x",
    b"/..",
    b"/../../etc/passwd",
    b"/a/./b",
    b"/%2e%2e/",
    b"/%00%0d%0a",
    b"/%zz",
    b"/%",
    b"/a;b=c",
    b"/?",
    b"/??",
    b"/a?b=c&d",
    b"/a?b=http://localhost/",
    b"/http://localhost/",
    b"/@localhost",
    b"/:80",
    b"/*",
    b'/"<>\\^`{|}',
    b"/%C3%A9",
    b"/" + b"a" * 3000,
    b"/HTTP/1.1",
    b"/a%20HTTP/1.1",
)
BAD_METHODS = (
    b"get",
    b"Get",
    b"gET",
    b"FOO",
    b"GETT",
    b"GE",
    b"G",
    b"GET\x00",
    b"G\x00T",
    b"\x00GET",
    b"G E T",
    b"GET\t",
    b"GET,POST",
    b"GET:",
    b"(GET)",
    b'"GET"',
    b"GET/",
    b"P\xd6ST",
    b"\xef\xbb\xbfGET",
    b"\x16\x03\x01",
    b"\x80",
    b"*",
    b"-",
    b"1",
    b"POSTGET",
    b"X" * 100,
    b"X" * 5000,
    b"DESCRIBE",
    b"ANNOUNCE",
    b"SETUP",
    b"PLAY",
    b"PAUSE",
    b"TEARDOWN",
    b"GET_PARAMETER",
    b"SET_PARAMETER",
    b"REDIRECT",
    b"RECORD",
    b"FLUSH",
    b"SOURCE",
    b"PRI",
)
KEPT_METHODS = (
    b"HEAD POST PUT DELETE OPTIONS TRACE PATCH PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK REPORT SEARCH "
    b"BIND UNBIND REBIND ACL MERGE CHECKOUT MKACTIVITY MKCALENDAR NOTIFY SUBSCRIBE UNSUBSCRIBE PURGE LINK UNLINK M-SEARCH"
).split()
BAD_VERSIONS = (
    b"",
    b" ",
    b" HTTP",
    b" HTTP/",
    b" HTTP/1",
    b" HTTP/1.",
    b" HTTP/.1",
    b" HTTP/11",
    b" HTTP/1.10",
    b" HTTP/1.01",
    b" HTTP/01.1",
    b" HTTP/1.1.1",
    b" HTTP/1,1",
    b" HTTP/0.9",
    b" HTTP/0.0",
    b" HTTP/1.2",
    b" HTTP/1.9",
    b" HTTP/2",
    b" HTTP/2.0",
    b" HTTP/3.0",
    b" HTTP/9.9",
    b" HTTP/A.B",
    b" HTTP/-1.1",
    b" HTTP/+1.1",
    b" HTTP/1.1 ",
    b" HTTP/1.1\t",
    b" HTTP/1.1x",
    b" HTTP/1.1 x",
    b" HTTP /1.1",
    b" HTTP/ 1.1",
    b" HTTP/1 .1",
    b" http/1.1",
    b" Http/1.1",
    b" HTTPS/1.1",
    b" XHTTP/1.1",
    b" HTP/1.1",
    b" ICE/1.0",
    b" ICAP/1.0",
    b" x HTTP/1.1",
    b"\tHTTP/1.1",
    b"\x0bHTTP/1.1",
    b"\xa0HTTP/1.1",
    b" HTTP\\1.1",
    b" \xff",
)
CONNECTED = (
    b"app.example:443",
    b"app.example:80",
    b"app.example",
    b"localhost:22",
    b"127.0.0.1:22",
    b"[::1]:22",
    b"[::1]",
    b":443",
    b"/",
    b"*",
    b"/x",
    b"http://app.example/",
    b"https://app.example:443/",
    b"user@app.example:443",
    b"app.example:x",
    b"app.example:99999",
    b"app.example:443/x",
    b"app.example:443?x",
    b"169.254.169.254:80",
    b"0:22",
)
UPGRADES = (
    b"h2c",
    b"websocket",
    b"WebSocket",
    b"foo, websocket",
    b"websocket, h2c",
    b"TLS/1.0",
    b"HTTP/2.0",
    b"",
    b"x",
)


def hosts():
    """No Host, several, or what is none."""
    family = Family("Host")
    start = b"GET / HTTP/1.1\r\n"
    for host in BAD_HOSTS:
        family.refused(start + b"Host: %b\r\n" % host + SERVICE + b"\r\n")
    family.refused(start + SERVICE + b"\r\n")
    for one, two in (
        (b"app.example", b"app.example"),
        (b"app.example", b"localhost"),
        (b"localhost", b"app.example"),
        (b"app.example", b""),
        (b"", b"app.example"),
        (b"", b""),
        (b"app.example", b"app.example:80"),
    ):
        family.refused(start + b"Host: %b\r\nHost: %b\r\n" % (one, two) + SERVICE + b"\r\n")
        family.refused(start + b"Host: %b\r\n" % one + SERVICE + b"hOST:%b\r\n\r\n" % two)
        family.refused((start + b"Host: %b\r\nHost: %b\r\n" % (one, two) + SERVICE + b"\r\n").replace(b"/1.1", b"/1.0"))
    for port in BAD_PORTS:
        family.refused(start + b"Host: app.example%b\r\n" % port + SERVICE + b"\r\n")
    for port in (b":", b":0", b":80", b":080", b":65535"):
        family.served(start + b"Host: app.example%b\r\n" % port + SERVICE + b"\r\n", ROOT)
    for name in (b"Host", b"host", b"HOST", b"hOsT"):
        family.served(start + name + b":\tapp.example \r\n" + SERVICE + b"\r\n", ROOT)
    return family.cases


def absolute_targets():
    """A URL as the target, with and against the Host."""
    family = Family("absolute targets")
    for target, path in (
        (b"http://app.example/a?b", b"/a?b"),
        (b"HTTP://APP.example/a", b"/a"),
        (b"https://app.example", b"/"),
        (b"http://app.example?x", b"/?x"),
        (b"http://app.example//x", b"//x"),
        (b"http://app.example/http://localhost/", b"/http://localhost/"),
        (b"http://app.example/@localhost", b"/@localhost"),
    ):
        family.served(get(target=target), (b"GET", path, b""))
        family.final(get(target=target).replace(b"/1.1", b"/1.0"), (b"GET", path, b""))
    family.served(post(method=b"OPTIONS", target=b"http://app.example"), (b"OPTIONS", b"*", b""))
    for target in (
        b"http://other.example/",
        b"http://localhosts/",
        b"http://app.example.evil/",
        b"http://evil.app.example/",
        b"http://app.example:80/",
        b"http://app.example:/",
        b"http://app.example:x/",
        b"http://user@app.example/",
        b"http://user:password@app.example/",
        b"http://app.example@evil/",
        b"http://app.example#@evil/",
        b"http://app.example\\@evil/",
        b"http://app.example%40evil/",
        b"http://app.example%00/",
        b"http://app.example /",
        b"http://app.example\t/",
        b"http://[app.example]/",
        b"http:// app.example/",
        b"http://app.example,evil/",
        b"http://\xffapp.example/",
        b"http:/app.example/",
        b"http//app.example/",
        b"htttp://app.example/",
        b"http://app.example/#x",
    ):
        family.refused(get(target=target))
    family.refused(b"GET http://app.example/ HTTP/1.1\r\nHost:\r\n" + SERVICE + b"\r\n")
    family.refused(b"GET http://app.example/ HTTP/1.1\r\n" + SERVICE + b"\r\n")
    family.refused(b"GET http://evil/ HTTP/1.0\r\n" + HOST + b"\r\n")
    return family.cases


def targets():
    """What is no target, and strange ones that are."""
    family = Family("targets")
    for target in BAD_TARGETS:
        family.refused(get(target=target))
    for target in KEPT_TARGETS:
        family.served(get(target=target), (b"GET", target, b""))
    family.served(post(method=b"OPTIONS", target=b"*"), (b"OPTIONS", b"*", b""))
    family.refused(post(method=b"POST", target=b"*"))
    # Spaces before the version are no part of the target.
    for spaces in (b" ", b"  ", b" " * 100):
        family.served(get(target=b"/a" + spaces), (b"GET", b"/a", b""))
    return family.cases


def methods():
    """What is no method, or one of another protocol."""
    family = Family("methods")
    for method in BAD_METHODS:
        family.refused(post(method=method), status=(BAD, NOT_KNOWN))
    for method in KEPT_METHODS:
        family.served(post(method=method), (method, b"/", b""))
    return family.cases


def versions():
    """Versions that are none, HTTP/0.9, HTTP/2."""
    family = Family("versions")
    for version in BAD_VERSIONS:
        family.refused(b"GET /%b\r\n%b\r\n" % (version, HOST), status=(BAD, NOT_KNOWN))
    # The parser takes the other protocol's name for HTTP's, where the method is one of HTTP.
    family.final(b"GET / RTSP/1.0\r\n%b\r\n" % HOST, ROOT)
    for preface in (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
        b"PRI * HTTP/1.1\r\n",
    ):
        family.refused(preface, status=(BAD, NOT_KNOWN))
    return family.cases


def connects():
    """CONNECT, to wherever."""
    family = Family("CONNECT")
    for target in CONNECTED:
        family.refused(post(method=b"CONNECT", target=target), status=(NOT_ALLOWED, BAD))
        body = post(b"Content-Length: 5", method=b"CONNECT", target=target, body=b"hello")
        family.refused(body, status=(NOT_ALLOWED, BAD))
    return family.cases


def upgrades():
    """Another protocol is asked for by a request with a body: it is a body, and what follows the next request."""
    family = Family("Upgrade with a body")
    inner = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    bodies = (
        (b"Content-Length: %d" % len(inner), inner),
        (b"Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner)),
    )
    for upgrade in UPGRADES:
        for framing, body in bodies:
            for method in (b"POST", b"GET"):
                lines = (
                    b"Connection: Upgrade, HTTP2-Settings",
                    b"Upgrade: " + upgrade,
                    b"HTTP2-Settings: AAMAAABk",
                    framing,
                )
                family.served(post(*lines, method=method, body=body), (method, b"/", inner))
        family.served(post(b"Connection: upgrade", b"Upgrade: " + upgrade), (b"POST", b"/", b""))
    for line in (b"Content-Length: 5\r\nContent-Length: 5", b"Content-Length: 5\r\nTransfer-Encoding: chunked"):
        for upgrade in UPGRADES:
            family.refused(post(b"Connection: Upgrade", b"Upgrade: " + upgrade, line, body=b"hello"))
    return family.cases
