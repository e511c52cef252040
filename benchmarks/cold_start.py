"""
What Waiter adds to a cold start: from the moment an instance began to listen to the first byte of the answer at the client.

Each of the services is new; its instance notes the monotonic clock, which all processes of a machine share, right after
C{listen} and says it in a header of each answer.
"""

import argparse
import contextlib
import re
import socket
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import harness
from harness import BenchmarkError

INSTANCE = """
import os, socket, time
listening = socket.create_server(("127.0.0.1", int(os.environ["PORT0"])), backlog=128)
at = time.monotonic_ns()
head = f"HTTP/1.1 200 OK\\r\\nX-Listening-At: {at}\\r\\nContent-Length: 6\\r\\nConnection: close\\r\\n\\r\\nhello\\n".encode()
while True:
    connection, _ = listening.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(head)
"""


@dataclass(frozen=True)
class ColdStart:
    """
    One of them.

    @ivar own_ms: from the request to the instance's C{listen}: processes, interpreter, the service's own start.
    @ivar platform_ms: from there to the first byte of the answer.
    """

    own_ms: float
    platform_ms: float


def ask(port: int, headers: dict[str, str]) -> ColdStart:
    """
    Send one request to a service that does not run.

    @raise BenchmarkError: it was not answered well.
    """
    lines = [f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in headers.items()]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall("".join([*lines, "\r\n"]).encode())
        sent = time.monotonic_ns()
        answer = client.recv(65536)
        came = time.monotonic_ns()
        while more := client.recv(65536):
            answer += more
    listening = re.search(rb"(?i)x-listening-at: (\d+)", answer)
    if not answer.startswith(b"HTTP/1.1 200 ") or listening is None:
        raise BenchmarkError(f"unexpected answer: {answer[:1000]!r}")
    at = int(listening[1])
    return ColdStart(own_ms=(at - sent) / 1e6, platform_ms=(came - at) / 1e6)


def run(arguments: argparse.Namespace) -> None:
    """Start so many services, one after the other."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(harness.workplace())
        script = directory / "instance.py"
        script.write_text(INSTANCE)
        _, port = stack.enter_context(harness.waiter(directory, reactor=arguments.reactor))
        measured = []
        for number in range(arguments.services + 1):
            if number:
                time.sleep(arguments.pause_secs)
            measured.append(ask(port, described(script, number)))
        # The first one finds everything unused: shown apart.
        report(measured[0], measured[1:])


def described(script: Path, number: int) -> dict[str, str]:
    """The headers of one service."""
    return {
        "x-waiter-cmd": f"exec {sys.executable} -S -E {script}",
        "x-waiter-version": f"cold-{number}",
        "x-waiter-cpus": "0.1",
        "x-waiter-mem": "32",
        "x-waiter-health-check-url": "/",
    }


def report(first: ColdStart, rest: list[ColdStart]) -> None:
    """The table."""
    print(harness.machine())
    print(f"{len(rest)} services, each new\n")
    print(f"{'ms':34}{'lowest':>8} {'median':>8} {'highest':>8} {'first of all':>14}")
    for name, values, before in (
        ("request to listen (the service)", [each.own_ms for each in rest], first.own_ms),
        ("listen to first byte (Waiter)", [each.platform_ms for each in rest], first.platform_ms),
    ):
        print(f"{name:34}{harness.spread(values)} {before:14.1f}")
    print(f"\nplatform time: median {statistics.median(each.platform_ms for each in rest):.1f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="What Waiter adds to a cold start.")
    parser.add_argument("--services", type=int, default=20, help="how many are started (%(default)s)")
    parser.add_argument("--pause-secs", type=float, default=0.2, help="between two of them (%(default)s)")
    parser.add_argument("--reactor", help="what twistd's --reactor is to be (Waiter's own choice)")
    harness.main(run, parser)
