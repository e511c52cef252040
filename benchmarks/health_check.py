"""
What one health check of a healthy instance costs the router: CPU time of this process alone, on each reactor.

Each reactor has a process of its own, and the instance another one.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time
from typing import Any

import harness
import uvloop
from harness import BenchmarkError
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.python import log

from waiter.model.description import ServiceDescription
from waiter.model.instance import Instance
from waiter.scheduler.health import HealthProbe

INSTANCE = """
import socket, sys
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
while True:
    connection, _ = listening.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\nConnection: close\\r\\n\\r\\nhello\\n")
"""


def measure(kind: str, port: int, checks: int, pause_secs: float, *, refused: bool) -> None:
    """Print the microseconds of one check, made one after the other."""
    reactor: Any = EPollReactor() if kind == "epoll" else AsyncioSelectorReactor(uvloop.new_event_loop())
    description = ServiceDescription(cmd="x", cpus=1, mem=1, run_as_user="x", version="1", health_check_url="/")
    instance = Instance(id="a.1", service_id="a", host="127.0.0.1", port=port)
    probe = HealthProbe(reactor)

    async def check_all(times: int) -> None:
        for _ in range(times):
            result = await probe.check(instance, description)
            if result.healthy == refused:
                raise BenchmarkError(f"unexpected: {result.message}")
            # As in the router, each check begins in a turn of the reactor of its own.
            turn: Deferred[None] = Deferred()
            reactor.callLater(pause_secs, turn.callback, None)
            await turn

    async def check() -> None:
        await check_all(checks // 10)
        before = time.process_time()
        await check_all(checks)
        print(f"{(time.process_time() - before) / checks * 1e6:.0f}")

    def begin() -> None:
        Deferred.fromCoroutine(check()).addErrback(log.err).addBoth(lambda _: reactor.stop())

    log.startLogging(sys.stderr, setStdout=False)
    reactor.callWhenRunning(begin)
    reactor.run(installSignalHandlers=False)


def run(arguments: argparse.Namespace) -> None:
    """The table, or one figure of it."""
    if arguments.measure:
        pause_secs = arguments.pause_ms / 1000
        measure(arguments.measure, arguments.port, arguments.checks, pause_secs, refused=arguments.refused)
        return
    print(harness.machine())
    print(f"{arguments.checks} checks, one after the other, with {arguments.pause_ms:g} ms between two\n")
    print(f"{'µs of CPU time':24}{'lowest':>8} {'median':>8} {'highest':>8}")
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(harness.workplace())
        script = directory / "instance.py"
        script.write_text(INSTANCE)
        port = harness.free_port()
        instance = stack.enter_context(
            harness.running([sys.executable, "-S", "-E", script, port], log=directory / "instance.log")
        )
        instance.wait_until_listening(port)
        for kind in ("uvloop", "epoll"):
            for what, at in (("answered", port), ("refused", harness.free_port())):
                figures = [figure(kind, at, arguments, refused=what == "refused") for _ in range(arguments.rounds)]
                print(f"{what + ', ' + kind:24}{harness.spread(figures, 0)}")


def figure(kind: str, port: int, arguments: argparse.Namespace, *, refused: bool) -> float:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--measure", kind, "--port", str(port), "--checks", str(arguments.checks)]
    command += ["--pause-ms", str(arguments.pause_ms)]
    path = os.pathsep.join(filter(None, [str(harness.ROOT), os.environ.get("PYTHONPATH")]))
    result = subprocess.run(
        [*command, *(["--refused"] if refused else [])],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode or not result.stdout:
        raise BenchmarkError(f"measuring failed:\n{result.stderr[-2000:]}")
    return float(result.stdout)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="What one health check costs the router.")
    parser.add_argument("--checks", type=int, default=2000, help="how many are measured (%(default)s)")
    parser.add_argument(
        "--pause-ms", type=float, default=0, help="between two; nothing is in a cache then (%(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often (%(default)s)")
    parser.add_argument("--measure", choices=("uvloop", "epoll"), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--refused", action="store_true", help=argparse.SUPPRESS)
    harness.main(run, parser)
