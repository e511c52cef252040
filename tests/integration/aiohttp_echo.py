"""A WebSocket server for tests, by aiohttp: sends back what it gets; answers GET /health."""

import sys

from aiohttp import WSMsgType, web


async def health(_request):
    return web.Response(text="healthy\n")


async def echo(request):
    socket = web.WebSocketResponse(max_msg_size=0, protocols=("second", "third"))
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        else:
            await socket.send_bytes(message.data)
    return socket


application = web.Application()
application.add_routes([web.get("/health", health), web.get("/echo", echo)])
web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), print=None)
