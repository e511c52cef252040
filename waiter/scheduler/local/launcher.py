"""Starts the process of an instance so that it depends on nothing of Waiter's."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote

from waiter.scheduler.local.records import InstanceDirectory

SHELL = "/bin/sh"
#: Runs the command: what commands are usually written for, and it replaces itself by a simple command.
COMMAND_SHELLS = ("/bin/bash", "/usr/bin/bash", SHELL)

_SCRIPT = """\
#!/bin/sh
# Runs one instance of {service_id} and notes how its command ended.
# Signals to the whole group end the command, not the one who takes the note; the command does not inherit that.
trap : HUP INT QUIT TERM USR1 USR2
{shell} -c {command}
code=$?
echo "$code" > {exit}.new && /bin/mv -f {exit}.new {exit}
exit "$code"
"""


def command_shell() -> str:
    """The shell that runs commands on this machine."""
    return next((shell for shell in COMMAND_SHELLS if Path(shell).exists()), SHELL)


def launcher_script(command: str, *, service_id: str, exit_path: Path, shell: str) -> str:
    """The text of C{run.sh}."""
    return _SCRIPT.format(
        service_id=service_id, shell=shell, command=quote(command), exit=quote(str(exit_path.absolute()))
    )


def launch(directory: InstanceDirectory, environment: Mapping[str, str], descriptors: Sequence[int]) -> int:
    """
    Run C{run.sh} of the directory as the leader of a session and process group of its own, with its output going straight
    to files.

    The caller has to reap the process, by its pid.

    @param descriptors: stay open in the process.
    @return: the pid.
    @raise OSError: the process cannot be started.
    """
    with directory.stdout.open("ab") as stdout, directory.stderr.open("ab") as stderr:
        # Reaped by pid when nothing is left of the instance: until then the pid cannot be used again.
        process = subprocess.Popen(
            [SHELL, str(directory.script)],
            cwd=directory.work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            close_fds=True,
            pass_fds=descriptors,
            umask=0o022,
        )
    # Keeps the object from waiting for the process when it is deleted.
    process.returncode = 0
    return process.pid
