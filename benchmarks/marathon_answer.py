"""
How long a router is kept from other things while it takes in a large answer of Marathon.

A process of its own serves the list of 2,000 apps with 20,000 tasks, 19 MB. A whole router, in a process of its own, too, knows
the services that these apps are, takes the list in when it starts, and again and again. A clock in it that wants to tick each
millisecond notes by how much it is late at worst in each round; for comparison, the same with all of the list parsed at once.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import uvloop
from harness import BenchmarkError
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.logger import globalLogBeginner, textFileLogObserver

from waiter.assembly import assemble
from waiter.catalog.service_id import service_id
from waiter.catalog.services import ServiceCatalog
from waiter.catalog.sqlite import SQLiteStore
from waiter.scheduler.marathon.client import MarathonClient
from waiter.settings import Settings
from waiter.state_directory import StateDirectory
from waiter.support.garbage import GarbageService

CORE = {"cmd": "./run", "cpus": 0.1, "mem": 64, "run-as-user": "nobody", "version": "1"}
TIME = time.strftime("%Y-%m-%dT%H:%M:%S.598Z", time.gmtime(time.time() - 3600))


def answer(apps: int, tasks: int, services: int) -> bytes:
    """A list of apps as Marathon writes it; some of them are services."""
    listed = [app(number, tasks // apps, is_service=number < services) for number in range(apps)]
    return json.dumps({"apps": listed}).encode()


def core(number: int) -> dict[str, Any]:
    """The description of a service."""
    return {**CORE, "name": f"number{number}"}


def app(number: int, tasks: int, *, is_service: bool) -> dict[str, Any]:
    """One of them."""
    app_id = f"/{service_id(core(number))}" if is_service else f"/others/{number}"
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
import contextlib, socket, sys
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
body = sys.stdin.buffer.read()
print("ready", flush=True)
info = b'{"frameworkId": "f-0000"}'
while True:
    connection, _ = listening.accept()
    with connection, contextlib.suppress(ConnectionError):
        asked = b""
        while not asked.endswith(b"\\r\\n\\r\\n"):
            asked += connection.recv(65536) or b"\\r\\n\\r\\n"
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

    def __init__(self, reactor: Any, each: Callable[[], object] = lambda: None) -> None:
        """@param each: called with each tick."""
        self._reactor = reactor
        self._each = each
        self.again()
        reactor.callLater(0.001, self._tick)

    def _tick(self) -> None:
        now, used = time.monotonic(), time.thread_time()
        self.worst_secs = max(self.worst_secs, now - self._expected)
        self.busiest_secs = max(self.busiest_secs, used - self._used)
        self._each()
        self._expected, self._used = time.monotonic() + 0.001, time.thread_time()
        self._reactor.callLater(0.001, self._tick)

    def again(self) -> None:
        """Begin anew."""
        self.worst_secs = self.busiest_secs = 0.0
        self._expected, self._used = time.monotonic() + 0.001, time.thread_time()


class Rounds:
    """Prints, for each round of a router's collector, how long it took, the CPU time since the last one and the worst stall, in ms."""

    def __init__(self, reactor: Any, collector: Any, wanted: int) -> None:
        self._collector = collector
        self._wanted = wanted
        self._took_secs: float | None = None
        self._used = 0.0
        self.done: Deferred[None] = Deferred()
        self._lateness = Lateness(reactor, self._look)

    def _look(self) -> None:
        if not self._collector.running:
            # What comes before is no matter of Marathon.
            self._begin()
        elif self._collector.took_secs != (self._took_secs or 0.0):
            self._took_secs = self._collector.took_secs
            used = time.process_time() - self._used
            numbers = (self._took_secs, used, self._lateness.worst_secs, self._lateness.busiest_secs)
            print("round", *(f"{secs * 1000:.0f}" for secs in numbers), flush=True)
            self._wanted -= 1
            if self._wanted == 0:
                self.done.callback(None)
            self._begin()

    def _begin(self) -> None:
        self._used = time.process_time()
        self._lateness.again()


def measure(kind: str, port: int, rounds: int, services: int, home: str) -> None:
    """Print what L{Rounds} has to say of a router."""
    reactor: Any = EPollReactor() if kind == "epoll" else AsyncioSelectorReactor(uvloop.new_event_loop())
    log = Path(home, "log").open("w")  # noqa: SIM115 - as long as the process lives
    globalLogBeginner.beginLoggingTo([textFileLogObserver(log)], redirectStandardIO=False)
    url = f"http://127.0.0.1:{port}"
    settings = Settings.model_validate(
        {
            "state-dir": home,
            "scheduler": {"kind": "marathon"},
            "marathon": {"urls": [url], "events": False},
            "discovery": {"scheduler-interval-secs": 1},
            "listen": {"http": [f"tcp:{harness.free_port()}:interface=127.0.0.1"]},
        }
    )

    async def all_at_once() -> None:
        client = MarathonClient(reactor, [url])
        client.open()
        text = json.dumps({"apps": [app async for app in client.each_app()]})
        await client.close()
        began = time.thread_time()
        json.loads(text)
        print(f"at-once {(time.thread_time() - began) * 1000:.0f}", flush=True)

    async def remember() -> None:
        directory = StateDirectory(settings.state_path)
        directory.privilegedStartService()
        store = SQLiteStore(reactor, directory.database)
        await store.startService()
        catalog = ServiceCatalog(store)
        await catalog.startService()
        for number in range(services):
            await catalog.remember(catalog.describe(core(number)))
        await store.stopService()
        directory.stopService()

    async def run() -> None:
        await all_at_once()
        await remember()
        root = assemble(reactor, settings)
        GarbageService().setServiceParent(root)
        collector = root.getServiceNamed("service-collector")
        observed = Rounds(reactor, collector, rounds)
        root.privilegedStartService()
        root.startService()
        await observed.done
        print(f"services {len(collector._batch.services)}", flush=True)  # noqa: SLF001
        await root.stopService()

    def failed(failure: Any) -> None:
        print(failure.getTraceback(), file=sys.stderr)

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(run()).addErrback(failed).addBoth(lambda _: reactor.stop()))
    reactor.run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--apps", type=int, default=2000)
    parser.add_argument("--tasks", type=int, default=20000, help="of all apps together")
    parser.add_argument("--services", type=int, default=2000, help="how many of the apps are services")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--reactor", choices=["uvloop", "epoll"], help="inside: take in what is served")
    parser.add_argument("--port", type=int, help="inside: where it is served")
    parser.add_argument("--home", help="inside: the router's state directory")
    given = parser.parse_args()
    if given.reactor is not None:
        measure(given.reactor, given.port, given.rounds, given.services, given.home)
        return
    body = answer(given.apps, given.tasks, given.services)
    print(f"{given.apps} apps, {given.tasks} tasks, {given.services} services, {len(body) / 1e6:.1f} MB\n")
    port = harness.free_port()
    with serving(body, port):
        for kind in ("uvloop", "epoll"):
            command = [sys.executable, __file__, "--reactor", kind, "--port", str(port), "--rounds", str(given.rounds)]
            command += ["--services", str(given.services)]
            with harness.workplace() as home:
                command += ["--home", str(home)]
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
