"""A WebSocket server for tests: sends back what it gets; answers GET /health."""

import asyncio
import http
import sys

from websockets.asyncio.server import serve


def health(connection, request):
    if request.path == "/health":
        return connection.respond(http.HTTPStatus.OK, "healthy\n")
    return None


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def main():
    async with serve(echo, "127.0.0.1", int(sys.argv[1]), process_request=health, max_size=None) as server:
        await server.serve_forever()


asyncio.run(main())
