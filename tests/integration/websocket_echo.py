"""
A WebSocket server for tests: sends back what it gets, in the pieces it gets; answers GET /health.

It writes to its output with what code a connection was closed, and ends only then when it is asked to. At C{/dying} the
first message kills it in the middle of a frame.
"""

import asyncio
import http
import os
import signal
import sys

from websockets.asyncio.server import serve


def health(connection, request):
    if request.path == "/health":
        return connection.respond(http.HTTPStatus.OK, "healthy\n")
    return None


async def echo(connection):
    if connection.request.path == "/dying":
        await connection.recv()
        connection.transport.write(b"\x82\x7f" + (2**20).to_bytes(8, "big") + b"half of it")
        os._exit(1)
    if connection.request.path == "/pieces":
        while True:
            await connection.send([piece async for piece in connection.recv_streaming()])
    async for message in connection:
        await connection.send(message)


open_connections = set()
asked_to_end = asyncio.Event()


async def handle(connection):
    open_connections.add(connection)
    try:
        await echo(connection)
    finally:
        await connection.wait_closed()
        sys.stdout.write(f"closed with {connection.close_code}\n")
        sys.stdout.flush()
        open_connections.discard(connection)
        end_if_wanted()


def end():
    asked_to_end.set()
    end_if_wanted()


def end_if_wanted():
    if asked_to_end.is_set() and not open_connections:
        os._exit(0)


async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    async with serve(handle, "127.0.0.1", int(sys.argv[1]), process_request=health, max_size=None) as server:
        await server.serve_forever()


asyncio.run(main())
