"""Requests of every kind, for applications that nobody here wrote."""

import re

from tests.integration.differential import ask

KILOBYTES = bytes(range(256)) * 512
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def gzip_clean(body):
    """A compressed body says when it was made."""
    return body[:4] + bytes(4) + body[8:] if body[:2] == b"\x1f\x8b" else body


HTTPBIN = [
    *(ask(method, f"/{method.lower()}?a=1&b=%20&b=2") for method in METHODS),
    *(ask(method, "/anything/x%2Fy;z?q=%C3%A9&e=", body=b"x=1&y=2") for method in METHODS),
    *(
        ask(method, f"/{method.lower()}", b"Content-Type: application/json", body=b'{"a": [1, 2]}')
        for method in METHODS[1:]
    ),
    ask("POST", "/post", b"Content-Type: application/x-www-form-urlencoded", body=b"a=1&b=%C3%A9&a=2"),
    ask(
        "POST",
        "/post",
        b"Content-Type: multipart/form-data; boundary=xyz",
        body=b'--xyz\r\nContent-Disposition: form-data; name="f"; filename="g"\r\n\r\nfile\r\n--xyz--\r\n',
    ),
    ask("POST", "/post", b"Content-Type: text/plain; charset=utf-8", body="h\u00e9".encode()),
    ask("POST", "/post", body=b""),
    ask("POST", "/post", body=(b"in ", b"several ", b"chunks")),
    ask("PUT", "/put", body=(b"chunk", b"ed"), trailers=(b"X-Sum: 1",)),
    ask("POST", "/post", body=KILOBYTES),
    ask("POST", "/post", body=tuple(KILOBYTES[at : at + 1000] for at in range(0, 30000, 1000))),
    ask("POST", "/post", body=b"told to go on", waits=True),
    ask("PUT", "/put", body=(b"told ", b"to go on"), waits=True),
    ask("GET", "/headers", b"X-One: 1", b"X-Two: 2", b"X-Empty:", b"X-Latin: caf\xe9", b"Accept: */*"),
    ask("GET", "/headers", b"Connection: keep-alive", b"Keep-Alive: 5", b"Proxy-Connection: keep-alive"),
    ask("GET", "/headers", b"Connection: keep-alive", b"Proxy-Authorization: x", b"TE: trailers"),
    ask("GET", "/headers", b"Authorization: Basic dTpw"),
    ask("GET", "/headers", b"Accept-Encoding: gzip, br", b"Accept-Language: de;q=0.5, en"),
    ask("GET", "/user-agent", b"User-Agent: differential/1 (x; y)"),
    ask("GET", "/ip"),
    *(
        ask(method, f"/status/{code}")
        for code in (200, 201, 202, 204, 205, 206, 299, 300, 301, 302, 304, 307, 400, 401, 402, 403, 404, 405)
        for method in ("GET",)
    ),
    *(ask("GET", f"/status/{code}") for code in (406, 407, 409, 410, 412, 415, 418, 422, 429, 451, 500, 501, 502, 504)),
    *(ask("POST", f"/status/{code}", body=b"x") for code in (200, 204, 303, 404, 500, 503)),
    *(ask("HEAD", f"/status/{code}") for code in (200, 204, 304, 404, 500)),
    *(ask("DELETE", f"/status/{code}") for code in (200, 204, 404)),
    *(ask("OPTIONS", path) for path in ("/get", "/anything", "/missing")),
    *(ask("HEAD", path) for path in ("/get", "/html", "/image/png", "/missing", "/gzip", "/bytes/100?seed=1")),
    *(ask("TRACE", path) for path in ("/get", "/anything")),
    ask("GET", "/redirect/3"),
    ask("GET", "/relative-redirect/2"),
    ask("GET", "/absolute-redirect/2"),
    ask("GET", "/redirect-to?url=http%3A%2F%2Fexample.com%2F&status_code=307"),
    ask("POST", "/redirect-to", b"Content-Type: application/x-www-form-urlencoded", body=b"url=/get&status_code=308"),
    ask("GET", "/cookies", b"Cookie: a=1; b=2"),
    ask("GET", "/cookies", b"Cookie: a=1", b"Cookie: b=2"),
    ask("GET", "/cookies/set?z=1&a=2&m=3"),
    ask("GET", "/cookies/set/name/value%20x"),
    ask("GET", "/cookies/delete?a&b", b"Cookie: a=1; b=2"),
    ask("GET", "/response-headers?X-One=1&X-One=2&Content-Type=text/x-odd&Etag=%22x%22"),
    ask("GET", "/response-headers?Link=%3C/a%3E;rel=x&Warning=199%20x%20%22caf%C3%A9%22"),
    ask("GET", "/gzip", clean=gzip_clean),
    ask("GET", "/deflate"),
    ask("GET", "/brotli"),
    ask("GET", "/encoding/utf8"),
    ask("GET", "/html"),
    ask("GET", "/xml"),
    ask("GET", "/json"),
    ask("GET", "/robots.txt"),
    ask("GET", "/deny"),
    ask("GET", "/base64/aGVsbG8%3D"),
    *(ask("GET", f"/image/{kind}") for kind in ("png", "jpeg", "webp", "svg")),
    ask("GET", "/image", b"Accept: image/jpeg"),
    ask("GET", "/image", b"Accept: text/none"),
    ask("GET", "/range/1024"),
    *(
        ask("GET", "/range/1024", b"Range: bytes=" + span)
        for span in (b"0-9", b"10-", b"-10", b"1000-2000", b"2000-3000", b"0-0")
    ),
    ask("GET", "/range/1024?chunk_size=100&duration=0", b"Range: bytes=5-600"),
    ask("GET", "/etag/abc"),
    ask("GET", "/etag/abc", b'If-None-Match: "abc"'),
    ask("GET", "/etag/abc", b'If-None-Match: W/"abc", "c"'),
    ask("GET", "/etag/abc", b'If-Match: "other"'),
    ask("GET", "/cache/60", free=frozenset({b"last-modified", b"etag"})),
    ask("GET", "/cache", b"If-None-Match: x"),
    ask("GET", "/cache", b"If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT"),
    ask("GET", "/bytes/10000?seed=1"),
    ask("GET", "/bytes/0?seed=1"),
    ask("GET", "/stream-bytes/100000?seed=1&chunk_size=1000"),
    ask("GET", "/stream/20"),
    ask("GET", "/stream/0"),
    ask("HEAD", "/stream/5"),
    ask("GET", "/drip?duration=0.2&numbytes=10&delay=0"),
    ask("GET", "/drip?duration=0&numbytes=10&code=299&delay=0"),
    ask("GET", "/delay/0"),
    ask("GET", "/links/5/2"),
    ask("GET", "/basic-auth/user/password", b"Authorization: Basic dXNlcjpwYXNzd29yZA=="),
    ask("GET", "/bearer", b"Authorization: Bearer x"),
    ask("GET", "/hidden-basic-auth/u/p"),
    ask("GET", "/missing"),
    ask("GET", "/a//b/../c/./d?x=y?z"),
    ask("GET", "/anything/%00%0d%0a%2e%2e%2f%25%zz?%"),
    ask("GET", "/anything/a+b%20c?d+e=%2B"),
    ask("GET", "/anything?" + "x" * 4000),
    ask("PROPFIND", "/anything"),
    ask("GET", "/get", minor=0),
    ask("GET", "/stream/3", minor=0),
    ask("POST", "/post", body=b"old", minor=0),
    ask("HEAD", "/html", minor=0),
]

VEVENT = (
    b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:%b\r\nSUMMARY:caf\xc3\xa9\r\n"
    b"DTSTAMP:20260101T000000Z\r\nDTSTART:20260101T000000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)
XML = b"Content-Type: application/xml; charset=utf-8"
PROPERTIES = (
    b'<?xml version="1.0"?><propfind xmlns="DAV:"><prop><displayname/><resourcetype/><getetag/></prop></propfind>'
)
MODIFIED = frozenset({b"last-modified"})
RADICALE = [
    ask("OPTIONS", "/"),
    ask("OPTIONS", "/waiter/"),
    ask("GET", "/"),
    ask("GET", "/.web/"),
    ask("GET", "/.web/", b"Accept-Encoding: gzip", clean=gzip_clean),
    ask("HEAD", "/.web/"),
    ask("GET", "/.web"),
    ask("GET", "/.well-known/caldav"),
    ask("PROPFIND", "/", b"Depth: 0"),
    ask("PROPFIND", "/waiter/", b"Depth: 0", XML, body=PROPERTIES),
    ask("MKCALENDAR", "/waiter/calendar/"),
    ask("MKCALENDAR", "/waiter/calendar/"),
    ask("MKCOL", "/waiter/books/"),
    ask("PROPFIND", "/waiter/", b"Depth: 1", XML, body=PROPERTIES),
    ask("PUT", "/waiter/calendar/1.ics", b"Content-Type: text/calendar", body=VEVENT % b"1"),
    ask("PUT", "/waiter/calendar/2.ics", b"Content-Type: text/calendar", body=VEVENT % b"2"),
    ask("PUT", "/waiter/calendar/caf%C3%A9%20x.ics", b"Content-Type: text/calendar", body=VEVENT % b"3"),
    ask("PUT", "/waiter/calendar/1.ics", b"If-None-Match: *", body=VEVENT % b"1"),
    ask("PUT", "/waiter/calendar/1.ics", b'If-Match: "other"', body=VEVENT % b"1"),
    ask("PUT", "/waiter/calendar/bad.ics", b"Content-Type: text/calendar", body=b"nonsense"),
    ask("GET", "/waiter/calendar/1.ics", free=MODIFIED),
    ask("HEAD", "/waiter/calendar/1.ics", free=MODIFIED),
    ask("GET", "/waiter/calendar/caf%C3%A9%20x.ics", free=MODIFIED),
    ask("GET", "/waiter/calendar/missing.ics"),
    ask("GET", "/waiter/calendar/1.ics", b"If-None-Match: *", free=MODIFIED),
    ask(
        "PROPPATCH",
        "/waiter/calendar/",
        XML,
        body=b'<propertyupdate xmlns="DAV:"><set><prop><displayname>n</displayname></prop></set></propertyupdate>',
    ),
    ask("PROPFIND", "/waiter/calendar/", b"Depth: 1", XML, body=PROPERTIES),
    ask(
        "REPORT",
        "/waiter/calendar/",
        b"Depth: 1",
        XML,
        body=b'<c:calendar-query xmlns="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"><prop><getetag/></prop>'
        b'<c:filter><c:comp-filter name="VCALENDAR"/></c:filter></c:calendar-query>',
    ),
    ask("REPORT", "/waiter/calendar/", XML, body=b"<unknown/>"),
    ask("REPORT", "/waiter/calendar/", XML, body=b"no xml"),
    ask("MOVE", "/waiter/calendar/2.ics", b"Destination: /waiter/calendar/moved.ics"),
    ask("COPY", "/waiter/calendar/1.ics", b"Destination: /waiter/calendar/copied.ics"),
    ask("LOCK", "/waiter/calendar/1.ics"),
    ask("UNLOCK", "/waiter/calendar/1.ics"),
    ask("POST", "/waiter/calendar/", body=b"x"),
    ask("DELETE", "/waiter/calendar/1.ics"),
    ask("DELETE", "/waiter/calendar/1.ics"),
    ask("DELETE", "/waiter/calendar/"),
    ask("GET", "/other/"),
    ask("OPTIONS", "*"),
]

PYPISERVER = [
    ask("GET", "/"),
    ask("GET", "/simple/"),
    ask("GET", "/simple"),
    ask("GET", "/simple/thing/"),
    ask("GET", "/simple/Thing/"),
    ask("GET", "/simple/missing/"),
    ask("GET", "/packages/"),
    ask("GET", "/packages/thing-1.0.tar.gz"),
    ask("HEAD", "/packages/thing-1.0.tar.gz"),
    *(
        ask("GET", "/packages/thing-1.0.tar.gz", b"Range: bytes=" + span)
        for span in (b"0-9", b"-5", b"100000-", b"5-5", b"9999999-", b"0-1,3-4", b"x")
    ),
    ask("GET", "/packages/thing-1.0.tar.gz", b"If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT"),
    ask("GET", "/packages/thing-1.0.tar.gz", b"If-Modified-Since: Thu, 01 Jan 1998 00:00:00 GMT"),
    ask("GET", "/packages/%2e%2e/secret"),
    ask("GET", "/packages/missing.tar.gz"),
    ask("GET", "/thing/json"),
    ask("POST", "/", b"Content-Type: multipart/form-data; boundary=x", body=b"--x--\r\n"),
    ask("POST", "/RPC2", b"Content-Type: text/xml", body=b"<methodCall><methodName>search</methodName></methodCall>"),
    ask("PUT", "/simple/", body=b"x"),
    ask("DELETE", "/packages/thing-1.0.tar.gz"),
]

DATASETTE = [
    ask("GET", "/-/versions.json", clean=lambda body: re.sub(rb'"(rss|pid)": \d+', b"", body)),
    ask("GET", "/-/plugins.json"),
    ask("GET", "/-/settings.json"),
    ask("GET", "/-/databases.json", clean=lambda body: re.sub(rb'"hash": \w+', b"", body)),
    ask("GET", "/-/static/app.css"),
    ask("HEAD", "/-/static/app.css"),
    ask("GET", "/-/static/missing.css"),
    ask("GET", "/_memory.json?sql=select+1+as+a,+%27caf%C3%A9%27+as+b&_shape=array"),
    ask("GET", "/_memory.json?sql=select+1%2B1&_shape=arrayfirst"),
    ask("GET", "/_memory.csv?sql=select+1+as+a+union+select+2"),
    ask("GET", "/_memory.csv?sql=select+1+as+a&_stream=on"),
    ask("GET", "/_memory.json?sql=drop+table+x&_shape=array"),
    ask(
        "GET",
        "/_memory.json?sql=select+*+from+missing&_shape=array",
        clean=lambda body: re.sub(rb'"query_ms": [0-9.]+', b"", body),
    ),
    ask("GET", "/missing"),
    ask("GET", "/_memory/"),
    ask("GET", "/favicon.ico"),
    ask("GET", "/-/actor.json"),
    ask("POST", "/-/messages", body=b"x"),
    ask("OPTIONS", "/_memory.json"),
    ask("DELETE", "/_memory"),
    ask("GET", "/%2F%2e%2e/x"),
]

STREAMING = [
    ask("GET", "/events"),
    ask("GET", "/events", b"Last-Event-ID: 3", b"Accept: text/event-stream"),
    ask("HEAD", "/events"),
    ask("GET", "/events", minor=0),
    *(ask("POST", "/echo", body=body) for body in (b"", b"x", KILOBYTES, (b"a", b"b" * 5000), ())),
    *(ask("PUT", "/echo?length=1", body=body) for body in (b"", b"x", KILOBYTES * 16)),
    ask("POST", "/echo", body=tuple([KILOBYTES] * 20)),
    ask("POST", "/echo", body=(b"a", b"b"), trailers=(b"X-Sum: 1", b"X-More: 2")),
    ask("POST", "/echo", body=b"told to go on", waits=True),
    ask("POST", "/early", body=b"x" * 1000),
    ask("POST", "/early", body=b"x" * 1000, waits=True),
    ask("GET", "/odd"),
    ask("HEAD", "/odd"),
    ask("GET", "/odd", minor=0),
    *(ask("GET", f"/large?size={size}") for size in (0, 1, 65536, 10_000_000)),
    *(ask("GET", f"/large?size={size}&length=1") for size in (0, 1, 65536, 10_000_000)),
    *(
        ask("GET", "/show" + rest)
        for rest in (
            "",
            "/",
            "//",
            "/../x",
            "/%2e%2E/%2f",
            "/%00",
            "/%E9%zz%",
            "/a;b=c,d",
            "?",
            "??&&==",
            "?a=%C3%A9&b=a+b",
            '/"<>\\^`{|}',
            "/caf%C3%A9",
            "/*:@!$&'()",
        )
    ),
    *(ask(method, "/show") for method in ("PROPFIND", "MKCOL", "REPORT", "LOCK", "PURGE", "OPTIONS", "DELETE")),
    ask("GET", "/show", b"X-Latin: caf\xe9\xff", b"X-Twice: 1", b"x-twice: 2", b"X-Spaces:   a  b\tc   "),
    ask("GET", "/show", b'Cookie: a=1; b="2"', b"Cookie: c=3", b"Referer: http://x/", b"Range: x"),
    ask("GET", "/static/file.bin"),
    ask("HEAD", "/static/file.bin"),
    ask("GET", "/static/"),
    ask("GET", "/static/empty"),
    ask("GET", "/static/caf%C3%A9.txt"),
    ask("GET", "/static/../streaming.py"),
    *(
        ask("GET", "/static/file.bin", b"Range: bytes=" + span)
        for span in (b"0-0", b"0-99", b"-100", b"100-", b"131072-", b"5-1")
    ),
    ask("GET", "/static/file.bin", b"If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT"),
    ask("GET", "/static/file.bin", b"If-Unmodified-Since: Thu, 01 Jan 1998 00:00:00 GMT"),
    ask("GET", "/static/file.bin", b'If-None-Match: "x"'),
    ask("GET", "/static/file.bin", b"If-Range: Thu, 01 Jan 1998 00:00:00 GMT", b"Range: bytes=0-9"),
]

TRAILING = [
    ask("POST", "/", b"TE: trailers", body=(b"a",)),
    ask("POST", "/", body=(b"a", b"bc"), trailers=(b"X-Sum: 1", b"X-More: 2")),
    ask("PUT", "/", b"Trailer: X-Sum", body=(KILOBYTES,), trailers=(b"X-Sum:  a  b ", b"x-sum:", b"X-SUM: \xff")),
    ask("PUT", "/", body=(), trailers=(b"grpc-status: 0", b"Digest: x")),
    *(
        ask(method, "/", *more, *(b"Please: " + line for line in lines))
        for method in ("GET", "DELETE")
        for more in ((), (b"TE: trailers",), (b"TE: trailers", b"Connection: TE"))
        for lines in ((), (b"X-Sum: 1",), (b"X-Sum: 1", b"x-sum: 2", b"Server-Timing: a;dur=1"))
    ),
    ask("POST", "/", b"Please: X-Answer: 1", body=(b"a",) * 100, trailers=(b"X-Asked: 1",)),
]
