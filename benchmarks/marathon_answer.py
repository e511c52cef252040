"""
How long the router is kept from other things while it takes in a large answer of Marathon.

A process of its own serves the list of 2,000 apps with 20,000 tasks, 16 MB. The router's parts take it in as they do when they
run: client, translation, collector, aggregator, reservation. A clock that wants to tick each millisecond notes by how much
it is late at worst; for comparison, the same with all of it parsed at once.
"""

import argparse
import contextlib
import gc
import json
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
from twisted.internet.task import deferLater

from waiter.discovery.aggregator import Aggregator
from waiter.discovery.collectors import ServiceCollector
from waiter.model.description import ServiceDescription
from waiter.model.service import Service
from waiter.reservation.ejection import EjectionRules
from waiter.reservation.manager import ReserverManager
from waiter.scheduler.health import HealthProbe
from waiter.scheduler.marathon.client import MarathonClient
from waiter.scheduler.marathon.rules import MarathonRules
from waiter.scheduler.marathon.scheduler import MarathonScheduler

CORE = {"cmd": "./run", "cpus": 0.1, "mem": 64, "run-as-user": "nobody", "version": "1"}
DESCRIPTION = ServiceDescription.model_validate(CORE)
TIME = "2026-09-17T09:32:42.598Z"


def answer(apps: int, tasks: int, services: int) -> bytes:
    """A list of apps as Marathon writes it; some of them are services."""
    listed = [app(number, tasks // apps, is_service=number < services) for number in range(apps)]
    return json.dumps({"apps": listed}).encode()


def app(number: int, tasks: int, *, is_service: bool) -> dict[str, Any]:
    """One of them."""
    app_id = f"/waiter-service-{number:032x}" if is_service else f"/others/{number}"
    return {
        "id": app_id,
        "acceptedResourceRoles": None,
        "args": ["/bin/bash", "-c", "exec python3 -m http.server --bind $HOST $PORT0"],
        "backoffFactor": 1.15,
        "backoffSeconds": 1,
        "constraints": [],
        "cpus": 0.1,
        "deployments": [],
        "disk": 0,
        "env": {f"VARIABLE_{each}": "some value of it" for each in range(12)},
        "healthChecks": [{"gracePeriodSeconds": 30, "intervalSeconds": 10, "path": "/status", "protocol": "HTTP"}],
        "instances": tasks,
        "labels": {"source": "waiter", "user": "nobody"},
        "mem": 64,
        "ports": [10000],
        "tasks": [task(app_id, number, each) for each in range(tasks)],
        "tasksHealthy": tasks,
        "tasksRunning": tasks,
        "tasksStaged": 0,
        "tasksUnhealthy": 0,
        "version": TIME,
        "versionInfo": {"lastConfigChangeAt": TIME, "lastScalingAt": TIME},
    }


def task(app_id: str, number: int, each: int) -> dict[str, Any]:
    """One of its tasks."""
    unique = f"083be411-5d1f-11e5-{number:04x}-{each:012x}"
    return {
        "appId": app_id,
        "healthCheckResults": [
            {
                "alive": True,
                "consecutiveFailures": 0,
                "firstSuccess": TIME,
                "instanceId": f"{app_id[1:]}.marathon-{unique}",
                "lastFailure": None,
                "lastFailureCause": None,
                "lastSuccess": TIME,
            }
        ],
        "host": f"10.0.{number % 250}.{each + 1}",
        "id": f"{app_id[1:].replace('/', '_')}.{unique}",
        "ipAddresses": [{"ipAddress": f"10.0.{number % 250}.{each + 1}", "protocol": "IPv4"}],
        "ports": [31000 + each],
        "servicePorts": [10000],
        "slaveId": "20150707-153709-218108076-5050-25588-S6",
        "stagedAt": TIME,
        "startedAt": TIME,
        "state": "TASK_RUNNING",
        "version": TIME,
    }


SERVER = """
import socket, sys
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
body = sys.stdin.buffer.read()
print("ready", flush=True)
info = b'{"frameworkId": "f-0000"}'
while True:
    connection, _ = listening.accept()
    with connection:
        asked = b""
        while not asked.endswith(b"\\r\\n\\r\\n"):
            asked += connection.recv(65536)
        data = info if b"/v2/info" in asked else body
        head = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n"
        connection.sendall(head % len(data) + data)
"""


class Lateness:
    """
    Ticks each millisecond.

    @ivar worst_secs: by how much it was late at worst.
    @ivar busiest_secs: the most CPU time that was used between two ticks: what the lateness would be on a machine that has
        nothing else to do.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.again()
        self._tick()

    def _tick(self) -> None:
        now, used = time.monotonic(), time.thread_time()
        self.worst_secs = max(self.worst_secs, now - self._expected)
        self.busiest_secs = max(self.busiest_secs, used - self._used)
        self._expected, self._used = now + 0.001, used
        self._reactor.callLater(0.001, self._tick)

    def again(self) -> None:
        """Begin anew."""
        self.worst_secs = self.busiest_secs = 0.0
        self._expected, self._used = time.monotonic() + 0.001, time.thread_time()


def measure(kind: str, port: int, rounds: int) -> None:
    """Print, for each round, how long it took, the CPU time of it and the worst stall, in ms."""
    reactor: Any = EPollReactor() if kind == "epoll" else AsyncioSelectorReactor(uvloop.new_event_loop())
    client = MarathonClient(reactor, [f"http://127.0.0.1:{port}"])
    scheduler = MarathonScheduler(
        reactor,
        client,
        cluster="benchmark",
        prefix="waiter-service-",
        wall=time.time,
        password=lambda _: "",
        user="nobody",
        rules=MarathonRules(events=False),
    )
    known: dict[str, Service] = {}

    def describe(service_id: str) -> Service:
        service = known.get(service_id)
        if service is None:
            service = known[service_id] = Service(id=service_id, core=CORE, description=DESCRIPTION)
        return service

    reservers = ReserverManager(
        reactor,
        ejection=EjectionRules(),
        wall=time.time,
        waiting_to_stream=lambda _: 0,
    )
    aggregator = Aggregator(router_id="r", wall=time.time, describe=describe, failing=reservers.failing)
    aggregator.states.subscribe(reservers.update)
    aggregator.router_news({"r": "http://127.0.0.1:9091"})
    collector = ServiceCollector(
        reactor, scheduler, aggregator.scheduler_news, probe=HealthProbe(reactor), describe=describe, wall=time.time
    )
    lateness = Lateness(reactor)

    async def all_at_once() -> None:
        text = json.dumps({"apps": [app async for app in client.each_app()]})
        await deferLater(reactor, 0.1)
        lateness.again()
        json.loads(text)
        await deferLater(reactor, 0.1)
        print(f"at-once {lateness.busiest_secs * 1000:.0f}", flush=True)

    async def take_in() -> None:
        # As a running router, which has done other things before, and whose memory has been tidied.
        scheduler.startService()
        await all_at_once()
        collector.running = True
        for _ in range(rounds):
            gc.collect()
            await deferLater(reactor, 0.2)
            lateness.again()
            began, cpu = time.monotonic(), time.process_time()
            await collector._collect()  # noqa: SLF001 - one round of it
            took, used = time.monotonic() - began, time.process_time() - cpu
            await deferLater(reactor, 0.05)
            stalls = f"{lateness.worst_secs * 1000:.0f} {lateness.busiest_secs * 1000:.0f}"
            print(f"round {took * 1000:.0f} {used * 1000:.0f} {stalls}", flush=True)
        print(f"services {len(aggregator.state.services)}", flush=True)

    def failed(failure: Any) -> None:
        print(failure.getTraceback(), file=sys.stderr)

    reactor.callWhenRunning(
        lambda: Deferred.fromCoroutine(take_in()).addErrback(failed).addBoth(lambda _: reactor.stop())
    )
    reactor.run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--apps", type=int, default=2000)
    parser.add_argument("--tasks", type=int, default=20000, help="of all apps together")
    parser.add_argument("--services", type=int, default=2000, help="how many of the apps are services")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--reactor", choices=["uvloop", "epoll"], help="inside: take in what is served")
    parser.add_argument("--port", type=int, help="inside: where it is served")
    given = parser.parse_args()
    if given.reactor is not None:
        measure(given.reactor, given.port, given.rounds)
        return
    body = answer(given.apps, given.tasks, given.services)
    print(f"{given.apps} apps, {given.tasks} tasks, {given.services} services, {len(body) / 1e6:.1f} MB\n")
    port = harness.free_port()
    with serving(body, port):
        for kind in ("uvloop", "epoll"):
            command = [sys.executable, __file__, "--reactor", kind, "--port", str(port), "--rounds", str(given.rounds)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode or "services" not in done.stdout:
                raise BenchmarkError(f"it failed:\n{done.stderr}")
            report(kind, [line.split() for line in done.stdout.splitlines()])


def report(kind: str, lines: list[list[str]]) -> None:
    """Print what one reactor did."""
    print(f"{kind:8}  json.loads of all of it stalls for {next(line[1] for line in lines if line[0] == 'at-once')} ms")
    print(f"{'':8}  {'round':>6} {'takes':>9} {'CPU':>9} {'worst stall':>13} {'CPU of one':>13}")
    for number, (_, took, used, worst, busiest) in enumerate((line for line in lines if line[0] == "round"), start=1):
        print(f"{'':8}  {number:>6} {took:>6} ms {used:>6} ms {worst:>10} ms {busiest:>10} ms")
    print()


@contextlib.contextmanager
def serving(body: bytes, port: int) -> Any:
    """A server of this answer."""
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        server.stdin.write(body)
        server.stdin.close()
        server.stdout.readline()
        yield
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    try:
        main()
    except BenchmarkError as error:
        sys.exit(f"marathon_answer: {error}")
