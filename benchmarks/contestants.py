"""Those that are measured side by side: started with the same origins behind them, and looked at whether they do the same work."""

import contextlib
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import clients
import harness
import origins
import proxies
from harness import BenchmarkError, Program

WAITER = "waiter"
DIRECT = "no proxy"
CHECKS = 20
#: Longer than any of the logs waits until it is written.
LOG_SECS = 15


@dataclass(frozen=True)
class Place:
    """Where requests for one of the origins are sent, and the headers that they need for it."""

    port: int
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Contestant:
    """
    A proxy, or the origins themselves.

    @ivar program: whose time and memory count; C{None} for the origins themselves.
    @ivar with_children: whether its children's count, too; those of Waiter are instances.
    @ivar nginx: where nginx answers, with little text or files.
    @ivar own: where bodies are taken and WebSockets echo.
    @ivar requests: the log of requests.
    """

    name: str
    nginx: Place
    own: Place
    program: Program | None = None
    requests: Path | None = None
    with_children: bool = True

    def cpu_secs(self) -> float:
        """User and system time used so far."""
        return self.program.cpu_secs(with_children=self.with_children) if self.program else 0.0

    def kernel_secs(self) -> float:
        """The system time in that."""
        return self.program.kernel_secs(with_children=self.with_children) if self.program else 0.0

    def rss_bytes(self) -> int:
        """Memory."""
        return self.program.rss_bytes(with_children=self.with_children) if self.program else 0

    def peak_rss_bytes(self) -> int:
        """The most memory since L{forget_peak}."""
        return self.program.peak_rss_bytes(with_children=self.with_children) if self.program else 0

    def forget_peak(self) -> None:
        """Begin a new time for the peak."""
        if self.program:
            self.program.forget_peak(with_children=self.with_children)

    def wait_until_answering(self, *, within_secs: float = 10) -> None:
        """Returns when it knows its way to the origin, which may be later than it listens."""
        deadline = time.monotonic() + within_secs
        while True:
            try:
                clients.ask(self.nginx.port, self.nginx.headers, "/")
                return
            except BenchmarkError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def check(self) -> None:
        """
        Look at what the origin gets and at the log.

        @raise BenchmarkError: something is missing of what all have to do.
        """
        before = self._log_lines()
        connections = set()
        for _ in range(CHECKS):
            answer = clients.ask(self.nginx.port, self.nginx.headers, "/check")
            seen = dict(line.partition(": ")[::2] for line in answer.splitlines())
            connections.add(seen["connection"])
            problems = self._problems(seen)
            if problems:
                raise BenchmarkError(f"{self.name} does less than the others: {'; '.join(problems)}\n{answer}")
        if self.program is None:
            return
        if len(connections) > 2:
            raise BenchmarkError(f"{self.name} made {len(connections)} connections to the origin for {CHECKS} requests")
        deadline = time.monotonic() + LOG_SECS
        while (lines := self._log_lines() - before) < CHECKS:
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{self.name} has logged {lines} of {CHECKS} requests")
            time.sleep(0.1)

    def _problems(self, seen: Mapping[str, str]) -> list[str]:
        problems = []
        if seen["http_cookie"] != origins.BROWSER["Cookie"]:
            problems.append("a header of the client is missing")
        if self.program is not None:
            if seen["http_host"] != "localhost":
                problems.append("not the Host that the client sent")
            # Envoy puts its own address there for clients of the same machine.
            if not seen["http_x_forwarded_for"]:
                problems.append("no X-Forwarded-For")
            if seen["http_x_forwarded_proto"] != "http":
                problems.append("no X-Forwarded-Proto")
            if seen["http_connection"].lower() not in {"", "keep-alive"}:
                problems.append("a connection that is not to be kept")
        return problems

    def _log_lines(self) -> int:
        return self.requests.read_bytes().count(b"\n") if self.requests and self.requests.exists() else 0


@dataclass(frozen=True)
class Course:
    """
    What is common to all that is measured.

    @ivar found: executables of the proxies, by name.
    @ivar proxy_cpus: where a proxy runs, and nothing else does; C{None} on a machine with one CPU.
    @ivar other_cpus: where all else runs.
    """

    names: Sequence[str]
    found: Mapping[str, str]
    sizes: Mapping[str, int]
    proxy_cpus: Collection[int] | None
    other_cpus: Collection[int]
    reactor: str | None = None
    settings: Mapping[str, str] | None = None

    @contextlib.contextmanager
    def contestants(self, directory: Path) -> Iterator[list[Contestant]]:
        """All of them, running, checked, and C{DIRECT} at last."""
        with contextlib.ExitStack() as stack:
            files = origins.make_files(directory, dict(self.sizes))
            headers = {**origins.nginx_service(directory, files, self.other_cpus), **origins.BROWSER}
            own_headers = {**origins.own_service(self.other_cpus), **origins.BROWSER}
            nginx, own = harness.free_port(), harness.free_port()
            command, log = harness.nginx(directory, "origin", origins.nginx_origin(nginx, files), connections=4096)
            stack.enter_context(harness.running(command, log=log)).wait_until_listening(nginx)
            command = [*origins.own_command(), own]
            stack.enter_context(harness.running(command, log=directory / "own.log")).wait_until_listening(own)
            present = []
            for name in self.names:
                if name == WAITER:
                    program, port = stack.enter_context(self.waiter(directory))
                    log = directory / "state" / "request.log"
                    places = Place(port, headers), Place(port, own_headers)
                elif name in self.found:
                    routes = [proxies.Route(harness.free_port(), origin) for origin in (nginx, own)]
                    program, log = self.peer(stack, directory, name, routes)
                    places = Place(routes[0].port, headers), Place(routes[1].port, own_headers)
                else:
                    continue
                present.append(Contestant(name, *places, program, log, with_children=name != WAITER))
            present.append(Contestant(DIRECT, Place(nginx, headers), Place(own, own_headers)))
            for contestant in present:
                contestant.wait_until_answering()
                contestant.check()
                clients.upload(contestant.own.port, contestant.own.headers, "/", 1 << 20)
            yield present

    @contextlib.contextmanager
    def waiter(self, directory: Path) -> Iterator[tuple[Program, int]]:
        """Waiter, on its CPU."""
        with harness.waiter(directory, reactor=self.reactor, settings=self.settings, cpus=self.proxy_cpus) as running:
            yield running

    def peer(
        self, stack: contextlib.ExitStack, directory: Path, name: str, routes: Sequence[proxies.Route]
    ) -> tuple[Program, Path]:
        """One of the others, on its CPU, and its log."""
        home = directory / f"proxy-{name}"
        home.mkdir()
        command = proxies.PEERS[name](home, routes)
        words = [self.found[name], *command.words[1:]]
        program = stack.enter_context(
            harness.running(words, log=command.log, environment=command.environment, cpus=self.proxy_cpus)
        )
        for route in routes:
            program.wait_until_listening(route.port)
        return program, command.requests


def divide_cpus() -> tuple[Collection[int] | None, Collection[int]]:
    """One CPU for the proxy, and the others for all else, to which this process goes, too, with whatever it starts."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) == 1:
        return None, cpus
    os.sched_setaffinity(0, cpus[:-1])
    return cpus[-1:], cpus[:-1]
