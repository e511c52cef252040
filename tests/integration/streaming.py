"""
An application for tests that streams, in every way that aiohttp knows: as events, in drops, echoing while the request is
still being sent; and that shows what it got as it came.
"""

import asyncio
import sys
from pathlib import Path

from aiohttp import web


async def events(request):
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(request)
    for number in range(5):
        await response.write(b"id: %d\ndata: event %d\n\n" % (number, number))
        await asyncio.sleep(0.01)
    return response


async def echo(request):
    """Chunk by chunk, as they come."""
    response = web.StreamResponse(headers={"Content-Type": request.content_type})
    if request.query.get("length"):
        response.content_length = request.content_length
    await response.prepare(request)
    async for piece in request.content.iter_any():
        await response.write(piece)
    return response


async def early(_request):
    """An answer that does not wait for the body."""
    return web.Response(status=413, text="too much")


async def show(request):
    """The target and the raw headers."""
    lines = [request.method.encode(), request.raw_path.encode()]
    lines += sorted(b"%b: %b" % (name.lower(), value) for name, value in request.raw_headers)
    return web.Response(body=b"\n".join(lines), content_type="application/octet-stream")


async def odd(_request):
    """Header values that are not ASCII, headers that come several times, an odd reason."""
    response = web.Response(status=299, reason="Quite OK; (really)", text="odd")
    for name, value in (
        ("X-Latin", "caf\u00e9"),
        ("X-Empty", ""),
        ("X-Twice", "1"),
        ("x-twice", "2"),
        ("X-TWICE", "1"),
        ("X-Spaces", "a  b\tc"),
        ("Set-Cookie", "z=1; Path=/"),
        ("Set-Cookie", "a=2; HttpOnly"),
        ("Set-Cookie", "z=3; Expires=Thu, 01 Jan 2099 00:00:00 GMT"),
        ("Link", "</a>; rel=preload"),
        ("Link", "</b>; rel=preload"),
        ("WWW-Authenticate", 'Basic realm="x"'),
        ("WWW-Authenticate", 'Digest realm="y", nonce="z"'),
        ("Via", "1.1 other"),
    ):
        response.headers.add(name, value)
    return response


async def large(request):
    """Many bytes, with their length or in chunks."""
    size = int(request.query["size"])
    response = web.StreamResponse()
    if request.query.get("length"):
        response.content_length = size
    await response.prepare(request)
    block = bytes(range(256)) * 256
    while size:
        piece = block[:size]
        await response.write(piece)
        size -= len(piece)
    return response


def application(directory):
    app = web.Application(client_max_size=1 << 30)
    app.router.add_get("/health", show)
    app.router.add_get("/events", events)
    app.router.add_get("/odd", odd)
    app.router.add_get("/large", large)
    app.router.add_route("*", "/echo", echo)
    app.router.add_route("*", "/early", early)
    app.router.add_route("*", "/show{tail:.*}", show)
    app.router.add_static("/static", Path(directory), show_index=True)
    return app


if __name__ == "__main__":
    web.run_app(application(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), print=None)
