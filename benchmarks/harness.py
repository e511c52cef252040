"""Processes, ports and load: what the benchmarks share."""

import argparse
import contextlib
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).absolute().parent.parent
TICKS_PER_SEC = os.sysconf("SC_CLK_TCK")


class BenchmarkError(Exception):
    """The benchmark cannot be run, or what it measured is worth nothing. The message says why."""


@dataclass(frozen=True)
class Load:
    """
    What wrk saw.

    @ivar requests: answered in that time.
    @ivar failures: socket errors, timeouts and answers other than 2xx and 3xx.
    """

    requests: int
    requests_per_sec: float
    failures: int
    p50_ms: float
    p99_ms: float


class Program:
    """A process that was started here, and its children."""

    def __init__(
        self,
        command: Sequence[object],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        cpus: Collection[int] | None = None,
    ) -> None:
        """@param cpus: the CPUs it may run on; C{None} for those of this process."""
        if cpus is not None:
            command = [*on_cpus(cpus), *command]
        self.log = log
        self.name = Path(str(command[0 if cpus is None else 3])).name
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                cwd=log.parent,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def cpu_secs(self, *, with_children: bool) -> float:
        """User and system time used so far, by itself or with those of its children that live."""
        return sum(_cpu_ticks(pid) for pid in self._pids(with_children)) / TICKS_PER_SEC

    def kernel_secs(self, *, with_children: bool) -> float:
        """The system time in that."""
        return sum(_cpu_ticks(pid, own=False) for pid in self._pids(with_children)) / TICKS_PER_SEC

    def rss_bytes(self, *, with_children: bool = False) -> int:
        """Its memory, by itself or with that of its children."""
        return self._memory_bytes("VmRSS", with_children)

    def peak_rss_bytes(self, *, with_children: bool = False) -> int:
        """The most memory it had since L{forget_peak}."""
        return self._memory_bytes("VmHWM", with_children)

    def forget_peak(self, *, with_children: bool = False) -> None:
        """Begin a new time for L{peak_rss_bytes}."""
        for pid in self._pids(with_children):
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def main_thread_cpu_secs(self) -> float:
        """User and system time used so far by its first thread."""
        return _cpu_ticks(f"{self.pid}/task/{self.pid}") / TICKS_PER_SEC

    def wait_until_said(self, words: str, *, within_secs: float = 30) -> None:
        """Returns when the log has these words."""
        deadline = time.monotonic() + within_secs
        while words not in self.log.read_text():
            self._check(deadline, f"did not say {words!r}")
            time.sleep(0.02)

    def wait_until_listening(self, port: int, *, within_secs: float = 30) -> None:
        """Returns when somebody listens on a port of this machine."""
        deadline = time.monotonic() + within_secs
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            self._check(deadline, f"does not listen on port {port}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it, gently and then by force."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(40)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _pids(self, with_children: bool) -> list[int]:
        return [self.pid, *(_children(self.pid) if with_children else ())]

    def _memory_bytes(self, field: str, with_children: bool) -> int:
        status = "".join(Path(f"/proc/{pid}/status").read_text() for pid in self._pids(with_children))
        return sum(int(kib) for kib in re.findall(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)) * 1024

    def _check(self, deadline: float, problem: str) -> None:
        ended = self._process.poll() is not None
        if ended or time.monotonic() > deadline:
            how = f"ended with status {self._process.returncode}" if ended else problem
            raise BenchmarkError(f"{self.name} {how}; its output:\n{self.log.read_text()[-2000:]}")


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A directory that goes away."""
    with tempfile.TemporaryDirectory(prefix="waiter-benchmark-") as directory:
        # Workers of an nginx that was started by root are somebody else.
        Path(directory).chmod(0o711)
        yield Path(directory)


@contextlib.contextmanager
def running(*args: Any, **kwargs: Any) -> Iterator[Program]:
    """A program that is ended."""
    program = Program(*args, **kwargs)
    try:
        yield program
    finally:
        program.stop()


@contextlib.contextmanager
def waiter(
    directory: Path,
    *,
    reactor: str | None = None,
    settings: Mapping[str, str] | None = None,
    cpus: Collection[int] | None = None,
) -> Iterator[tuple[Program, int]]:
    """
    Waiter as a user starts it, with everything on, and its port. What other servers run takes no room from it.

    @param settings: more variables for its environment.
    """
    port = free_port()
    command = [Path(sys.executable).parent / "twistd", "-n", "--pidfile="]
    if reactor is not None:
        command.append(f"--reactor={reactor}")
    command += ["waiter", "--http", f"tcp:{port}:interface=127.0.0.1", "--state-dir", directory / "state"]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {"PYTHONPATH": path, "WAITER_SCHEDULER_COUNT_OTHER_SERVERS": "false", **(settings or {})}
    with running(command, log=directory / "waiter.log", environment=environment, cpus=cpus) as program:
        program.wait_until_said("Waiter is ready")
        yield program, port


def on_cpus(cpus: Collection[int]) -> list[str]:
    """What a command begins with that may run on these CPUs alone."""
    return ["taskset", "-c", ",".join(map(str, sorted(cpus)))]


def nginx(directory: Path, name: str, http: str, *, connections: int = 1024) -> tuple[list[object], Path]:
    """The command that runs nginx in the foreground with one worker, and the log for it."""
    home = directory / name
    home.mkdir()
    configuration = home / "nginx.conf"
    configuration.write_text(
        f"daemon off;\nworker_processes 1;\npid {home}/nginx.pid;\nerror_log {home}/error.log;\n"
        f"events {{ worker_connections {connections}; }}\n"
        f"http {{\n{temporary_paths(home)}keepalive_requests 1000000000;\nkeepalive_timeout 600s;\n{http}\n}}\n"
    )
    return ["nginx", "-p", home, "-e", home / "error.log", "-c", configuration], home / "output.log"


def temporary_paths(home: Path | str) -> str:
    """Directives that keep nginx out of the machine's own directories."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return "".join(f"{kind}_temp_path {home}/{kind};\n" for kind in kinds)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def load(
    port: int,
    *,
    connections: int,
    secs: float,
    headers: Mapping[str, str] | None = None,
    path: str = "/",
    threads: int = 1,
    script: Path | None = None,
) -> Load:
    """
    Keep so many connections busy with GET requests.

    @param script: what wrk asks for, instead of the path with the headers.
    @raise BenchmarkError: wrk failed.
    """
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{secs:g}s", "--latency", "--timeout", "10s"]
    for name, value in (headers or {}).items():
        command += ["-H", f"{name}: {value}"]
    if script is not None:
        command += ["-s", str(script)]
    command.append(f"http://127.0.0.1:{port}{path}")
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise BenchmarkError(f"wrk failed: {result.stderr or result.stdout}")
    return parse_wrk(result.stdout)


def parse_wrk(text: str) -> Load:
    """What wrk printed."""
    total = re.search(r"(\d+) requests in", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if total is None or rate is None:
        raise BenchmarkError(f"wrk printed something else than expected:\n{text}")
    failures = sum(int(number) for number in re.findall(r"(?:connect|read|write|timeout) (\d+)", text))
    failures += sum(int(number) for number in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    return Load(
        requests=int(total[1]),
        requests_per_sec=float(rate[1]),
        failures=failures,
        p50_ms=_percentile_ms(text, "50"),
        p99_ms=_percentile_ms(text, "99"),
    )


def need(*programs: str) -> None:
    """
    @raise BenchmarkError: one of the programs is not installed.
    """
    missing = [program for program in programs if shutil.which(program) is None and not Path(program).exists()]
    if missing:
        raise BenchmarkError(f"not installed: {', '.join(missing)} (Debian: apt-get install {' '.join(missing)})")


def machine() -> str:
    """One line about where this was measured."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        return f"{os.cpu_count()} x {model}, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f}"
    return f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}"


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Lowest, median and highest."""
    return " ".join(f"{value:8.{digits}f}" for value in (min(values), statistics.median(values), max(values)))


def main(run: Any, parser: argparse.ArgumentParser) -> None:
    """Run a benchmark; what keeps it from running is one line, not a traceback."""
    try:
        run(parser.parse_args())
    except BenchmarkError as error:
        sys.exit(f"{parser.prog}: {error}")


def _percentile_ms(text: str, percentile: str) -> float:
    found = re.search(rf"\s{percentile}%\s+([\d.]+)(us|ms|s)\b", text)
    if found is None:
        return float("nan")
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _cpu_ticks(pid: int | str, *, own: bool = True) -> int:
    # The name, in parentheses, may contain spaces.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) * own + int(fields[12])
