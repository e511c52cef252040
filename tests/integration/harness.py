"""A real Waiter, started as a user would start it, and what tests ask of it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import attrs
import psutil
import treq
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.iweb import UNKNOWN_LENGTH

from tests.ports import free_port

READY = "Waiter is ready"
HTTP_SERVER = "exec python3 -m http.server --bind 127.0.0.1 $PORT0"


def python_path():
    """A PATH on which C{python3} is the interpreter that runs the tests."""
    return f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"


def service_headers(cmd=HTTP_SERVER, **parameters):
    """The headers that describe a service; parameters are given as C{concurrency_level=2}."""
    described = {"cmd": cmd, "version": "v1", "cpus": 0.1, "mem": 64, "health_check_url": "/", **parameters}
    return {f"x-waiter-{name.replace('_', '-')}": [str(value)] for name, value in described.items()}


async def until(describe, predicate, *, within_secs=60):
    """
    Ask C{describe} (returns an awaitable) again and again until C{predicate} holds of its answer, and return that.

    The condition is the event waited for; the pauses only bound how often it is looked at.
    """
    deadline = reactor.seconds() + within_secs
    while True:
        answer = await describe()
        if predicate(answer):
            return answer
        if reactor.seconds() > deadline:
            raise AssertionError(f"it did not happen within {within_secs} s; the last answer was {answer!r}")
        await deferLater(reactor, 0.05)


@attrs.frozen
class Answer:
    """A response that has been read."""

    code: int
    headers: object
    body: bytes
    length: int | None

    def json(self):
        return json.loads(self.body)

    def header(self, name):
        values = self.headers.getRawHeaders(name)
        return None if values is None else values[0]


class RunningWaiter:
    """
    One C{twistd -n waiter} process on a free port, with a state directory of its own.

    @ivar port: where it listens.
    @ivar state: its state directory.
    """

    def __init__(
        self, case, *, state=None, port=None, arguments=(), environment=None, program=("twistd", "-n", "--pidfile=")
    ):
        self.case = case
        self.port = port or free_port()
        self.state = Path(state or case.mktemp()).absolute()
        self.url = f"http://127.0.0.1:{self.port}"
        self._program = program
        self._arguments = arguments
        self._environment = environment or {}
        self._agent = Agent(reactor, HTTPConnectionPool(reactor, persistent=False))
        self._log = Path(case.mktemp()).absolute()
        self._process = None

    async def start(self):
        """Start it; returns when it is ready. It is stopped, with everything it started, when the test ends."""
        scripts = Path(sys.executable).parent
        command = [str(scripts / self._program[0]), *self._program[1:], "waiter"]
        command += ["--http", f"tcp:{self.port}:interface=127.0.0.1", "--state-dir", str(self.state), *self._arguments]
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("WAITER_")},
            # Tests that run at the same time do not wait for each other's instances.
            "WAITER_SCHEDULER_COUNT_OTHER_SERVERS": "false",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            **self._environment,
        }
        # Not the reactor's spawnProcess: what the server needs of a reactor must not depend on the one that runs the tests.
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.case.addCleanup(self._clean_up)
        await until(self._started, lambda started: started)
        return self

    async def _started(self):
        ended = self._process.poll() is not None
        output = self.output
        if ended:
            raise AssertionError(f"Waiter did not start:\n{output}")
        return READY in output

    @property
    def pid(self):
        return self._process.pid

    @property
    def output(self):
        return self._log.read_text(errors="replace")

    async def stop(self, sent=signal.SIGINT):
        """
        Send a signal; returns the exit status when the process has ended.

        After an orderly stop twistd ends itself with the signal it got: the status is its number, negative.
        """
        self._process.send_signal(sent)
        return await until(self._ended, lambda status: status is not None, within_secs=60)

    async def _ended(self):
        return self._process.poll()

    async def request(self, path="/", *, method="GET", headers=None, data=None):
        """Send a request and read the answer."""
        response = await treq.request(
            method,
            self.url + path,
            headers=headers,
            data=data,
            agent=self._agent,
            allow_redirects=False,
            unbuffered=True,
        )
        # The agent takes Content-Length out of the headers.
        length = None if response.length is UNKNOWN_LENGTH else response.length
        return Answer(response.code, response.headers, await treq.content(response), length)

    async def api(self, path):
        """GET something of the API; returns the JSON."""
        answer = await self.request(path, headers={"accept": ["application/json"]})
        if answer.code != 200:
            raise AssertionError(f"GET {path} answered {answer.code}: {answer.body!r}")
        return answer.json()

    async def service_id(self, headers):
        """The id of the service that the headers describe."""
        return (await self.request("/service-id", headers=headers)).body.decode()

    async def post_token(self, name, cmd, **data):
        """Give a description a name; what is not said of it is that of a small web server."""
        given = {
            "cmd": cmd,
            "cpus": 0.1,
            "mem": 64,
            "version": "v1",
            "health-check-url": "/",
            "env": {"PATH": python_path()},
            **{key.replace("_", "-"): value for key, value in data.items()},
        }
        answer = await self.request(
            f"/token?token={name}",
            method="POST",
            data=json.dumps(given).encode(),
            headers={"content-type": ["application/json"]},
        )
        if answer.code != 200:
            raise AssertionError(f"token {name} was answered with {answer.code}: {answer.body!r}")

    async def service(self, service_id):
        return await self.api(f"/apps/{service_id}")

    async def active_instances(self, service_id):
        return (await self.service(service_id))["instances"]["active-instances"]

    def instance_processes(self):
        """The live processes that carry an instance id of a service of this Waiter's state directory."""
        return processes_under(self.state)

    async def processes_now(self):
        """C{instance_processes}, to be waited on."""
        return self.instance_processes()

    async def _clean_up(self):
        if self._process.poll() is None:
            await self.stop(signal.SIGKILL)
        for process in self.instance_processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def processes_under(state):
    """
    The live processes of the instances recorded below C{state}.

    A process belongs to an instance by its environment or, as some servers write over theirs, by its session.
    """
    leaders = {json.loads(path.read_text()).get("pid") for path in state.glob("services/*/*/instance.json")} - {None}
    found = []
    for process in psutil.process_iter():
        try:
            sandbox = process.environ().get("WAITER_SANDBOX", "")
            ours = sandbox.startswith(str(state)) or os.getsid(process.pid) in leaders
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, ProcessLookupError):
            continue
    return found
