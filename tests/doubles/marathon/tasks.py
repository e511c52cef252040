"""Runs tasks as processes, each in a process group and a sandbox of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path

import attrs
import psutil

from tests.port_ranges import SIZE, own_ports

#: Runs the command, and writes down how it ended. Outlives a signal to the group that the command does not.
_LAUNCHER = """
trap : TERM INT HUP
"$@" &
child=$!
wait $child; status=$?
while kill -0 $child 2>/dev/null; do wait $child; status=$?; done
echo $status > "$0.new" && mv "$0.new" "$0"
"""


@attrs.define(kw_only=True)
class Task:
    """
    One task, as it is written down too.

    @ivar started_at: when its process began to run, C{None} until then.
    @ivar created: when the process was created, by the kernel's clock; tells it from another of the same number.
    @ivar killing_since: when it was asked to end.
    @ivar why: what to say about its end if it is a failure that the double caused itself.
    """

    id: str
    app_id: str
    version: str
    host: str
    agent_id: str
    ports: list
    staged_at: float
    sandbox: str
    grace_secs: float
    started_at: float | None = None
    state: str = "TASK_STAGING"
    pid: int | None = None
    created: float | None = None
    killing_since: float | None = None
    why: str | None = None
    health: list = attrs.field(factory=list)


class Launcher:
    """Starts and ends tasks below a directory."""

    def __init__(self, directory, *, hosts, framework_id):
        self._directory = Path(directory)
        self._framework_id = framework_id
        self._agents = {host: f"{framework_id[:-5]}-S{number}" for number, host in enumerate(hosts)}
        self._hosts = list(hosts)
        self._count = 0
        self._first, self._last = own_ports()
        self._port = self._first + uuid.uuid4().int % SIZE
        self._own = {}

    @property
    def slaves(self):
        """The agents' directory."""
        return self._directory / "slaves"

    def prepare(self, app):
        """A new task of an app, with ports and a sandbox."""
        self._count += 1
        host = self._hosts[self._count % len(self._hosts)]
        task_id = f"{app.id.strip('/').replace('/', '_')}.{uuid.uuid1()}"
        runs = self.slaves / self._agents[host] / "frameworks" / self._framework_id / "executors" / task_id / "runs"
        sandbox = runs / str(uuid.uuid4())
        sandbox.mkdir(parents=True)
        (runs / "latest").symlink_to(sandbox.name)
        grace_secs = app.definition.get("taskKillGracePeriodSeconds")
        return Task(
            id=task_id,
            app_id=app.id,
            version=app.version,
            host=host,
            agent_id=self._agents[host],
            ports=[self._free_port(host) for _ in app.definition["ports"]],
            staged_at=time.time(),
            sandbox=str(sandbox),
            grace_secs=3 if grace_secs is None else grace_secs,
        )

    def start(self, task, definition):
        """Run its process."""
        command = ["/bin/sh", "-c", definition["cmd"]] if definition["cmd"] is not None else definition["args"]
        sandbox = Path(task.sandbox)
        with (sandbox / "stdout").open("wb") as stdout, (sandbox / "stderr").open("wb") as stderr:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _LAUNCHER, f"{task.sandbox}.exit", *command],
                cwd=sandbox,
                env=self._environment(task, definition),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        self._own[task.id] = process
        task.pid = process.pid
        task.created = psutil.Process(process.pid).create_time()
        task.started_at = time.time()
        task.state = "TASK_RUNNING"

    def ask_to_end(self, task):
        """Tell it to end."""
        task.state = "TASK_KILLING"
        task.killing_since = time.monotonic()
        self._signal(task, signal.SIGTERM)

    def force(self, task):
        """End it."""
        self._signal(task, signal.SIGKILL)

    def ended(self, task):
        """C{None} while it runs; then its exit status, negative for a signal."""
        exit_file = Path(f"{task.sandbox}.exit")
        process = self._own.get(task.id)
        gone = not self._is_same(task) if process is None else process.poll() is not None
        if not gone and not exit_file.exists():
            return None
        self.force(task)
        if process is not None:
            process.wait()
            del self._own[task.id]
        try:
            status = int(exit_file.read_text())
        except (OSError, ValueError):
            return -signal.SIGKILL
        return status if status <= 128 else 128 - status

    def _signal(self, task, number):
        if task.pid is not None and (task.id in self._own or self._group_is_ours(task)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(task.pid, number)

    def _is_same(self, task):
        """Whether the process of a task from before still runs."""
        if task.pid is None:
            return False
        try:
            process = psutil.Process(task.pid)
            return abs(process.create_time() - task.created) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def _group_is_ours(self, task):
        """Whether there is still one of the task's own processes in what was its group."""
        return any(_sandbox_of(process) == task.sandbox for process in _group(task.pid))

    def _environment(self, task, definition):
        given = {name: value for name, value in definition["env"].items() if isinstance(value, str)}
        own = {
            "HOST": task.host,
            "MARATHON_APP_ID": task.app_id,
            "MARATHON_APP_RESOURCE_CPUS": str(definition["cpus"]),
            "MARATHON_APP_RESOURCE_MEM": str(definition["mem"]),
            "MARATHON_APP_VERSION": task.version,
            "MESOS_DIRECTORY": task.sandbox,
            "MESOS_EXECUTOR_ID": task.id,
            "MESOS_FRAMEWORK_ID": self._framework_id,
            "MESOS_SANDBOX": task.sandbox,
            "MESOS_TASK_ID": task.id,
            "PATH": os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin"),
            "PORTS": ",".join(map(str, task.ports)),
        }
        if task.ports:
            own["PORT"] = str(task.ports[0])
        return given | own | {f"PORT{index}": str(port) for index, port in enumerate(task.ports)}

    def _free_port(self, host):
        for _ in range(SIZE):
            self._port = self._port + 1 if self._port < self._last else self._first
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.bind((host, self._port))
                return self._port
        raise RuntimeError("all ports are taken")


def _group(group_id):
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == group_id:
                yield process


def _sandbox_of(process):
    with contextlib.suppress(psutil.Error):
        if process.status() != psutil.STATUS_ZOMBIE:
            return process.environ().get("MESOS_SANDBOX", "")
    return ""


def processes_below(directory):
    """The live processes of tasks that were started below a directory."""
    return [process for process in psutil.process_iter() if _sandbox_of(process).startswith(f"{directory}/")]
