"""The command line that already exists, C{waiter-client} of PyPI, in a virtual environment of its own."""

import getpass
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import SkipTest

import attrs
from twisted.internet.threads import deferToThread

WANTED = "waiter-client==1.5.7"

# Below trial's temporary directory, which is there for as long as the tests run.
_PLACE = "waiter-client"
_SECS = 240


@attrs.frozen
class Ran:
    """A command that has ended, and all that it said."""

    status: int
    said: str


def install():
    """
    The directory with its programs; installed once for all tests of a run.

    @raise SkipTest: it cannot be had here.
    """
    place = Path(_PLACE).absolute()
    programs, done = place / "bin", place / "done"
    if not done.exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, capture_output=True, timeout=_SECS)
            # What the tests import is nothing that the client would have.
            alone = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
            pip = [str(programs / "pip"), "install", "-q", "--disable-pip-version-check", "--retries", "1", WANTED]
            installed = subprocess.run(pip, check=False, capture_output=True, text=True, timeout=_SECS, env=alone)
        except (OSError, subprocess.SubprocessError) as error:
            raise SkipTest(f"waiter-client cannot be installed: {error}") from None
        if installed.returncode:
            last = installed.stderr.strip().rpartition("\n")[2]
            raise SkipTest(f"waiter-client cannot be installed: {last}")
        done.touch()
    return programs


class ExistingClient:
    """
    The client as somebody uses it who has a home with a configuration.

    @ivar home: the directory where commands are run.
    """

    def __init__(self, case, *clusters, before=(), environment=None):
        """
        @param clusters: names and URLs; the first is where tokens are made if nothing else is said.
        @param before: what stands before the command.
        """
        self.home = Path(case.mktemp()).absolute()
        self.home.mkdir()
        self._before = before
        self._environment = environment or {}
        configured = [
            {"name": name, "url": url, "default-for-create": not at, "sync-group": "tests"}
            for at, (name, url) in enumerate(clusters)
        ]
        (self.home / ".waiter.json").write_text(json.dumps({"clusters": configured}))

    async def run(self, *arguments, said=(), given="", status=0):
        """
        Run a command. It must end with this status (C{None} for any) and say all of C{said}.

        @param given: what it reads from its standard input.
        """
        ran = await deferToThread(self._run, arguments, given)
        command = f"waiter {' '.join(arguments)}"
        assert status is None or ran.status == status, f"{command} ended with {ran.status}:\n{ran.said}"
        for words in (said,) if isinstance(said, str) else said:
            assert words in ran.said, f"{command} did not say {words!r}:\n{ran.said}"
        return ran

    def _run(self, arguments, given):
        environment = {
            "HOME": str(self.home),
            "USER": getpass.getuser(),
            "PATH": os.environ["PATH"],
            "COLUMNS": "300",
            "WAITER_ADMIN": "true",
            "WAITER_SSH": "echo",
            **self._environment,
        }
        command = [*self._before, str(install() / "waiter"), *arguments]
        ended = subprocess.run(
            command,
            cwd=self.home,
            env=environment,
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_SECS,
        )
        return Ran(ended.returncode, ended.stdout)
