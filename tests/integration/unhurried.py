"""
An instance for tests with any number of clients: echoes a body; C{/large} is 8 MiB that depend on their place, all else a word.
"""

import asyncio
import hashlib
import sys

LARGE = b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(8 * 1024 * 1024 // 32))


async def serve(reader, writer):
    try:
        while True:
            line, *fields = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
            lengths = [
                int(field.partition(b":")[2]) for field in fields if field.lower().startswith(b"content-length:")
            ]
            body = await reader.readexactly(lengths[0]) if lengths else b"word"
            if line.startswith(b"GET /large"):
                body = LARGE
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
            for at in range(0, len(body), 65536):
                writer.write(body[at : at + 65536])
                await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1000)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
