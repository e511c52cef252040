"""
CPU time per request of Waiter beside nginx, on the same work, interleaved in one run.

The work: small GET requests with the headers of a browser on 32 keep-alive connections, answered by an nginx with one
worker. All proxies keep connections to the backend and write a log of requests. Waiter runs as a user starts it, and
the backend as an instance of a service that the requests' headers describe.

CPU time is user and system time of the proxy's processes from C{/proc/<pid>/stat}; neither wrk's nor the backend's
is in it.
"""

import argparse
import contextlib
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

import harness
from harness import BenchmarkError, Load, Program
from origins import ANSWER, BROWSER

BACKEND = f'access_log off;\nserver {{ listen 127.0.0.1:%s reuseport; location / {{ return 200 "{ANSWER}"; }} }}'


@dataclass
class Row:
    """
    One line of the table.

    @ivar program: whose CPU time counts; C{None} for the load without a proxy.
    """

    name: str
    port: int
    program: Program | None = None
    with_children: bool = False
    loads: list[Load] = field(default_factory=list)
    costs_us: list[float] = field(default_factory=list)

    def measure(self, secs: float, connections: int, headers: dict[str, str]) -> None:
        """
        One round.

        @raise BenchmarkError: a request failed.
        """
        before = self._cpu_secs()
        seen = harness.load(self.port, connections=connections, secs=secs, headers=headers)
        used = self._cpu_secs() - before
        if seen.failures or not seen.requests:
            raise BenchmarkError(f"{self.name}: {seen.failures} of {seen.requests} requests failed")
        self.loads.append(seen)
        self.costs_us.append(used / seen.requests * 1e6)

    def _cpu_secs(self) -> float:
        return 0.0 if self.program is None else self.program.cpu_secs(with_children=self.with_children)


def service_headers(directory: Path) -> dict[str, str]:
    """The headers that describe the backend as a service."""
    script = directory / "instance.sh"
    script.write_text(
        f'set -e\nhome=$(mktemp -d {directory}/instance-XXXXXX)\ncat > "$home/nginx.conf" <<END\n'
        "daemon off;\nworker_processes 1;\npid $home/nginx.pid;\nerror_log stderr;\n"
        "events { worker_connections 1024; }\n"
        f"http {{\n{harness.temporary_paths('$home')}keepalive_requests 1000000000;\nkeepalive_timeout 600s;\n"
        + BACKEND % "$PORT0"
        + '\n}\nEND\nexec nginx -p "$home" -e stderr -c "$home/nginx.conf"\n'
    )
    return {
        "x-waiter-cmd": f"exec sh {script}",
        "x-waiter-version": "benchmark",
        "x-waiter-cpus": "1",
        "x-waiter-mem": "128",
        "x-waiter-health-check-url": "/",
        "x-waiter-concurrency-level": "100",
        "x-waiter-max-instances": "1",
    }


def proxying(port: int, backend: int, log: Path) -> str:
    """The configuration of an nginx that does what Waiter does: pooled connections, forwarding headers, a log."""
    return (
        f"access_log {log} combined;\n"
        f"upstream backend {{ server 127.0.0.1:{backend}; keepalive 64; keepalive_requests 1000000000; }}\n"
        f"server {{ listen 127.0.0.1:{port};\n"
        "location / { proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection '';\n"
        "proxy_set_header Host $http_host; proxy_set_header Via '1.1 nginx';\n"
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme; } }"
    )


def run(arguments: argparse.Namespace) -> None:
    """Start everything, measure in turns, print the table."""
    harness.need("wrk", "nginx")
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(harness.workplace())
        headers = {**service_headers(directory), **({} if arguments.few_headers else BROWSER)}
        rows = list(start(stack, directory, arguments))
        for row in rows:
            # The first request starts the service.
            harness.load(row.port, connections=1, secs=1, headers=headers)
            harness.load(row.port, connections=arguments.connections, secs=1, headers=headers)
        for number in range(arguments.rounds):
            for row in rows:
                row.measure(arguments.secs, arguments.connections, headers)
            print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
        report(rows, arguments, directory)


def start(stack: contextlib.ExitStack, directory: Path, arguments: argparse.Namespace) -> list[Row]:
    """Everything that takes part."""
    backend, front, floor = (harness.free_port() for _ in range(3))
    command, log = harness.nginx(directory, "backend", BACKEND % backend)
    stack.enter_context(harness.running(command, log=log)).wait_until_listening(backend)
    command, log = harness.nginx(directory, "nginx", proxying(front, backend, directory / "nginx-access.log"))
    nginx = stack.enter_context(harness.running(command, log=log))
    nginx.wait_until_listening(front)
    waiter, port = stack.enter_context(harness.waiter(directory, reactor=arguments.reactor))
    rows = [
        Row("waiter", port, waiter),
        Row("nginx", front, nginx, with_children=True),
        Row("no proxy", backend),
    ]
    if not arguments.no_floor:
        command = [sys.executable, harness.ROOT / "benchmarks" / "floor.py", floor, backend]
        forwarder = stack.enter_context(
            harness.running(command, log=directory / "floor.log", environment={"PYTHONPATH": str(harness.ROOT)})
        )
        forwarder.wait_until_listening(floor)
        rows.insert(2, Row("floor", floor, forwarder))
    return rows


def report(rows: list[Row], arguments: argparse.Namespace, directory: Path) -> None:
    """The table, and what it means."""
    count = len(BROWSER) + 1 if not arguments.few_headers else 1
    print(f"\n{harness.machine()}")
    print(
        f"GET, {count} headers beside those that describe the service, {len(ANSWER)} bytes of answer, "
        f"{arguments.connections} connections, {arguments.rounds} rounds of {arguments.secs:g} s\n"
    )
    print(f"{'':10}{'CPU us per request':^27}{'':4}{'requests/s':^27}{'':4}{'p99 ms':>8}")
    print(f"{'':10}{'lowest':>8} {'median':>8} {'highest':>8}{'':5}{'lowest':>8} {'median':>8} {'highest':>8}")
    for row in rows:
        cost = harness.spread(row.costs_us) if row.program is not None else " " * 26
        rate = harness.spread([load.requests_per_sec for load in row.loads], 0)
        p99 = statistics.median(load.p99_ms for load in row.loads)
        print(f"{row.name:10}{cost}{'':5}{rate}{'':4}{p99:8.1f}")
    costs = {row.name: row.costs_us for row in rows}
    ratio = statistics.median(costs["waiter"]) / statistics.median(costs["nginx"])
    by_round = [ours / theirs for ours, theirs in zip(costs["waiter"], costs["nginx"], strict=True)]
    print(f"\nwaiter : nginx = {ratio:.2f} (medians; by round {min(by_round):.2f} to {max(by_round):.2f})")
    if "floor" in costs:
        print("floor: the same bytes carried on the same transports, unread")
    for name, log in (("waiter", directory / "state" / "request.log"), ("nginx", directory / "nginx-access.log")):
        lines = sum(file.read_bytes().count(b"\n") for file in log.parent.glob(f"{log.name}*"))
        print(f"{name}'s request log: {lines} lines")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="CPU time per request of Waiter beside nginx.")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (%(default)s)")
    parser.add_argument("--secs", type=float, default=3, help="how long each time (%(default)s)")
    parser.add_argument("--connections", type=int, default=32, help="busy at the same time (%(default)s)")
    parser.add_argument("--reactor", help="what twistd's --reactor is to be (Waiter's own choice)")
    parser.add_argument("--few-headers", action="store_true", help="leave the browser's headers out")
    parser.add_argument("--no-floor", action="store_true", help="leave the forwarder that looks at nothing out")
    harness.main(run, parser)
