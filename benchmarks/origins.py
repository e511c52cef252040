"""
What proxies are measured with: the origins behind them, which Waiter runs as instances and the others reach on a port.

Two are nginx and a program of its own. C{python origins.py PORT} is the latter: it takes any body, and echoes WebSocket
messages as long as they are masked with zeros, which makes echoing them cheap.
"""

import asyncio
import base64
import hashlib
import re
import sys
from collections.abc import Collection
from pathlib import Path
from typing import cast

import harness
import uvloop

ANSWER = "x" * 128
BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Cookie": "session=0123456789abcdef0123456789abcdef; theme=dark",
    "Referer": "http://localhost/index.html",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
    "Upgrade-Insecure-Requests": "1",
    "Cache-Control": "max-age=0",
}
#: What C{/check} answers: what the origin sees of a request that came through a proxy.
SEEN = ("connection", "http_host", "http_connection", "http_x_forwarded_for", "http_x_forwarded_proto", "http_cookie")


def nginx_origin(port: object, files: Path) -> str:
    """
    The configuration of an nginx that answers with little text, with files, and with what it sees of a request.

    @param port: a number, or what stands for it in a script.
    """
    variables = "".join(f"{name}: ${name}\\n" for name in SEEN)
    return (
        "access_log off; sendfile on; tcp_nopush on;\n"
        f"server {{ listen 127.0.0.1:{port} reuseport backlog=4096;\n"
        f'location / {{ return 200 "{ANSWER}"; }}\n'
        f'location = /check {{ return 200 "{variables}"; }}\n'
        f"location /files/ {{ alias {files}/; }} }}\n"
    )


def make_files(directory: Path, sizes: dict[str, int]) -> Path:
    """A directory of files of zeros, which take no room on the disk, but are in memory already: who is first pays no more."""
    files = directory / "files"
    files.mkdir()
    for name, size in sizes.items():
        with (files / name).open("wb") as file:
            file.truncate(size)
        with (files / name).open("rb", buffering=0) as file:
            while file.read(1 << 20):
                pass
    return files


def nginx_service(directory: Path, files: Path, cpus: Collection[int]) -> dict[str, str]:
    """The headers that describe such an nginx as a service of Waiter."""
    configuration = nginx_origin("@PORT@", files)
    template = directory / "instance.conf"
    template.write_text(
        "daemon off;\nworker_processes 1;\npid @HOME@/nginx.pid;\nerror_log stderr;\n"
        "events { worker_connections 4096; }\n"
        f"http {{\n{harness.temporary_paths('@HOME@')}keepalive_requests 1000000000;\nkeepalive_timeout 600s;\n"
        f"{configuration}}}\n"
    )
    script = directory / "nginx-instance.sh"
    script.write_text(
        f"set -e\nhome=$(mktemp -d {directory}/instance-XXXXXX)\n"
        f'sed "s!@PORT@!$PORT0!; s!@HOME@!$home!" {template} > "$home/nginx.conf"\n'
        'exec nginx -p "$home" -e stderr -c "$home/nginx.conf"\n'
    )
    return described(f"sh {script}", cpus)


def own_service(cpus: Collection[int]) -> dict[str, str]:
    """The headers that describe the program in this file as a service of Waiter."""
    return described(f"{' '.join(own_command())} $PORT0", cpus)


def own_command() -> list[str]:
    """What runs it, but for the port."""
    return [sys.executable, str(Path(__file__).absolute())]


def described(command: str, cpus: Collection[int]) -> dict[str, str]:
    """A service with one instance and slots for everybody, on the CPUs where the other origins run."""
    return {
        "x-waiter-cmd": f"exec {' '.join(harness.on_cpus(cpus))} {command}",
        "x-waiter-version": "benchmark",
        "x-waiter-cpus": "2",
        "x-waiter-mem": "256",
        "x-waiter-health-check-url": "/",
        "x-waiter-concurrency-level": "2000",
        "x-waiter-max-instances": "1",
    }


class Origin(asyncio.BufferedProtocol):
    """A connection to the program in this file."""

    def __init__(self) -> None:
        self._buffer = bytearray(1 << 18)
        self._view = memoryview(self._buffer)
        self._head = b""
        self._left = 0
        self._frames: bytes | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody came."""
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, _hint: int) -> memoryview:
        """Always the same."""
        return self._view

    def buffer_updated(self, size: int) -> None:
        """Bytes of a body, of frames, or of a head."""
        if self._left:
            # Nothing follows a request before it is answered.
            self._left -= size
            if not self._left:
                self._answer()
        elif self._frames is not None:
            self._echo(bytes(self._view[:size]))
        else:
            self._read_head(bytes(self._view[:size]))

    def _read_head(self, data: bytes) -> None:
        head, end, rest = (self._head + data).partition(b"\r\n\r\n")
        if not end:
            self._head = head
            return
        self._head = b""
        key = re.search(rb"\r\nsec-websocket-key: *(\S+)", head, re.IGNORECASE)
        if key is not None:
            digest = hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()
            accepted = base64.b64encode(digest).decode()
            self._transport.write(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Accept: {accepted}\r\n\r\n".encode()
            )
            self._frames = rest
            return
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        self._left = (int(length[1]) if length else 0) - len(rest)
        if not self._left:
            self._answer()

    def _echo(self, data: bytes) -> None:
        frames = (self._frames or b"") + data
        while len(frames) >= 6 and len(frames) >= (end := 6 + (frames[1] & 127)):
            self._transport.write(frames[:1] + bytes((end - 6,)) + frames[6:end])
            frames = frames[end:]
        self._frames = frames

    def _answer(self) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n")


async def serve(port: int) -> None:
    """Until somebody ends this process."""
    server = await asyncio.get_running_loop().create_server(Origin, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
