"""
What slow clients cost, and what they cost the others: thousands that send a head, send a body, or read an answer at a byte a
second, while others are served; and as many idle ones.
"""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import crowd
import harness
import proxy_cost
from harness import Program

INSTANCE = """
import asyncio, os
LARGE = b"x" * 8388608
class Served(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.got, self.left, self.body, self.full = transport, b"", None, b"", False
    def pause_writing(self):
        self.full = True
    def resume_writing(self):
        self.full = False
        self.send()
    def send(self):
        while self.body and not self.full:
            self.transport.write(self.body[:65536])
            self.body = self.body[65536:]
    def data_received(self, data):
        self.got += data
        while True:
            if self.left is None:
                head, end, rest = self.got.partition(b"\\r\\n\\r\\n")
                if not end:
                    return
                self.large = head.startswith(b"GET /large")
                lengths = [line for line in head.lower().split(b"\\r\\n") if line.startswith(b"content-length:")]
                self.left, self.got = int(lengths[0].split()[1]) if lengths else 0, rest
            taken = min(self.left, len(self.got))
            self.left, self.got = self.left - taken, self.got[taken:]
            if self.left:
                return
            self.left = None
            self.body = memoryview(LARGE if self.large else b"hello\\n")
            self.transport.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(self.body))
            self.send()
async def main():
    server = await asyncio.get_running_loop().create_server(Served, "127.0.0.1", int(os.environ["PORT0"]), backlog=4096)
    await server.serve_forever()
asyncio.run(main())
"""
MIB = 1 << 20
ROUND_SECS = 5.0


def slow_service(directory: Path) -> dict[str, str]:
    """The headers that describe what the slow clients use; with slots enough for all of them."""
    script = directory / "instance.py"
    script.write_text(INSTANCE)
    return {
        "x-waiter-cmd": f"exec {sys.executable} {script}",
        "x-waiter-version": "slow",
        "x-waiter-cpus": "0.5",
        "x-waiter-mem": "4096",
        "x-waiter-health-check-url": "/",
        "x-waiter-concurrency-level": "10000",
        "x-waiter-max-instances": "1",
    }


def descriptors(program: Program) -> int:
    """Its open files."""
    return sum(1 for _ in Path(f"/proc/{program.pid}/fd").iterdir())


class Table:
    """A line for each round of normal load, and what Waiter was at its end."""

    def __init__(self, waiter: Program, port: int, headers: dict[str, str], connections: int) -> None:
        self._waiter = waiter
        self._port = port
        self._headers = headers
        self._connections = connections
        self._began = time.monotonic()
        self.highest = 0
        print(f"{'':24}{'at s':>6}{'RSS MiB':>9}{'files':>7}{'CPU %':>7}{'requests/s':>12}{'p50 ms':>8}{'p99 ms':>8}")

    def row(self, name: str, *, load: bool = True) -> None:
        """One round."""
        before, at = self._waiter.cpu_secs(with_children=False), time.monotonic()
        seen = None
        if load:
            seen = harness.load(self._port, connections=self._connections, secs=ROUND_SECS, headers=self._headers)
        else:
            time.sleep(ROUND_SECS)
        busy = (self._waiter.cpu_secs(with_children=False) - before) / (time.monotonic() - at) * 100
        rss = self._waiter.rss_bytes()
        self.highest = max(self.highest, rss)
        text = f"{name:24}{time.monotonic() - self._began:6.0f}{rss / MIB:9.1f}{descriptors(self._waiter):7}{busy:7.0f}"
        if seen is not None:
            text += f"{seen.requests_per_sec:12.0f}{seen.p50_ms:8.1f}{seen.p99_ms:8.1f}"
            text += f"  {seen.failures} failed" if seen.failures else ""
        print(text, flush=True)


def run(arguments: argparse.Namespace) -> None:
    """The slow ones, then the idle ones, each with a Waiter of their own, as freed memory is not given back at once."""
    harness.need("wrk", "nginx")
    most = max(arguments.clients, arguments.idle) + 1000
    print(harness.machine())
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(harness.workplace())
        # The default follows from the limit on open files, which may be too low for so many.
        stack.enter_context(environment("WAITER_LISTEN_MAX_CONNECTIONS", str(most)))
        for number, measure in ((arguments.clients, measure_slow), (arguments.idle, measure_idle)):
            if number:
                home = directory / measure.__name__
                home.mkdir()
                with harness.waiter(home, reactor=arguments.reactor) as (waiter, port):
                    measure(home, waiter, port, number, arguments)


def measure_slow(directory: Path, waiter: Program, port: int, number: int, arguments: argparse.Namespace) -> None:
    """Nobody slow, then many, then nobody again."""
    normal, slow = proxy_cost.service_headers(directory), slow_service(directory)
    for headers in (normal, slow):
        harness.load(port, connections=1, secs=1, headers=headers)
    harness.load(port, connections=arguments.connections, secs=2, headers=normal)
    print(f"\n{arguments.connections} connections under load beside {number} slow clients ({arguments.kinds})\n")
    table = Table(waiter, port, normal, arguments.connections)
    for _ in range(3):
        table.row("nobody slow")
    before = table.highest
    kinds = arguments.kinds.split(",")
    numbers = {kind: number // len(kinds) + (at < number % len(kinds)) for at, kind in enumerate(kinds)}
    with crowd.crowd(directory, port, slow, within_secs=120, **numbers) as clients:
        until = time.monotonic() + arguments.secs
        while time.monotonic() < until:
            table.row(f"{number} slow")
        report = crowd.report_of(clients)
    per_client = (table.highest - before) / number / 1024
    time.sleep(2)
    for _ in range(2):
        table.row("nobody slow any more")
    print(f"\nslow clients at the end: {report}")
    print(f"memory: {per_client:.1f} KiB for each slow client at the most")


def measure_idle(directory: Path, waiter: Program, port: int, number: int, arguments: argparse.Namespace) -> None:
    """Connections on which one request was answered."""
    normal = proxy_cost.service_headers(directory)
    harness.load(port, connections=arguments.connections, secs=2, headers=normal)
    print(f"\n{number} idle connections\n")
    table = Table(waiter, port, normal, arguments.connections)
    table.row("nobody", load=False)
    table.row("nobody")
    before = waiter.rss_bytes()
    with crowd.crowd(directory, port, normal, within_secs=300, idle=number):
        for _ in range(3):
            table.row(f"{number} idle", load=False)
        per_client = (waiter.rss_bytes() - before) / number / 1024
        table.row(f"{number} idle")
    print(f"\nmemory: {per_client:.1f} KiB for each idle connection")


@contextlib.contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """A variable for the programs that are started meanwhile, unless it is set."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="What slow and idle clients cost, and what they cost others.")
    parser.add_argument("--clients", type=int, default=2000, help="how many are slow (%(default)s)")
    parser.add_argument("--kinds", default="head,body,reader", help="in which way, in equal parts (%(default)s)")
    parser.add_argument("--secs", type=float, default=120, help="for how long (%(default)s)")
    parser.add_argument(
        "--idle", type=int, default=10000, help="how many are idle afterwards; 0 for none (%(default)s)"
    )
    parser.add_argument(
        "--connections", type=int, default=32, help="of the others, busy at the same time (%(default)s)"
    )
    parser.add_argument("--reactor", help="what twistd's --reactor is to be (Waiter's own choice)")
    harness.main(run, parser)
