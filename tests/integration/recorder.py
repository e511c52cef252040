"""
An instance for tests that keeps every byte it gets, by connection, and tells it to who asks on a UNIX socket.

It answers each request that can be read in only one way; C{GET /reply/<number>} with that line of the table of hostile
answers. What can be read in two ways is not answered.
"""

import asyncio
import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.hostile import judge
from tests.hostile.answers import REPLIES

HEALTH = b"GET /health "
PLAIN = b"HTTP/1.1 204 No Content\r\n\r\n"
LINE = re.compile(rb"POST /reply/([0-9]+)")


class Recorder:
    def __init__(self):
        self._count = 0
        self._connections = {}

    async def serve(self, reader, writer):
        """One connection of an instance."""
        number, self._count = self._count, self._count + 1
        got, judged = b"", 0
        while data := await self._read(reader):
            got += data
            if got[: len(HEALTH)] in HEALTH[: len(got)]:
                writer.write(PLAIN)
                writer.close()
                return
            self._connections[number] = (got, False)
            try:
                requests, rest = judge.requests(got[judged:])
            except AssertionError:
                continue
            judged = len(got) - len(rest)
            for method, target, _, _ in requests:
                match = LINE.match(method + b" " + target)
                reply = REPLIES[int(match[1])] if match else None
                writer.write(reply.data if reply else PLAIN)
                if reply and reply.ends:
                    writer.write_eof()
        if number in self._connections:
            self._connections[number] = (got, True)
        writer.close()

    async def _read(self, reader):
        try:
            return await reader.read(65536)
        except ConnectionError:
            return b""

    async def tell(self, reader, writer):
        """C{[[number, bytes, ended], ...]} for each line; an empty line begins anew for what has come so far."""
        while line := await reader.readline():
            told = [(number, got.hex(), ended) for number, (got, ended) in self._connections.items()]
            writer.write(json.dumps(told).encode() + b"\n")
            if line == b"forget\n":
                self._connections = {n: (got, ended) for n, (got, ended) in self._connections.items() if not ended}
        writer.close()


async def main(port, control):
    recorder = Recorder()
    await asyncio.start_unix_server(recorder.tell, control)
    server = await asyncio.start_server(recorder.serve, "127.0.0.1", port)
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
