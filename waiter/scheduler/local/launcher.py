"""Starts the process of an instance so that it depends on nothing of Waiter's."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote

import attrs

from waiter.scheduler.local.records import InstanceDirectory
from waiter.support.users import User

SHELL = "/bin/sh"
#: Runs the command: what commands are usually written for, and it replaces itself by a simple command.
COMMAND_SHELLS = ("/bin/bash", "/usr/bin/bash", SHELL)

_SCRIPT = """\
#!/bin/sh
# Runs one instance of {service_id} and notes how its command ended.
# Signals to the whole group end the command, not the one who takes the note; the command does not inherit that.
trap : HUP INT QUIT TERM USR1 USR2
{limits}\
# Nothing runs before Waiter has written down what runs and has given it its share. If Waiter ends before that, so does this.
read -r go || exit 0
{shell} -c {command} < /dev/null
code=$?
echo "$code" > {exit}
exit "$code"
"""


def command_shell() -> str:
    """The shell that runs commands on this machine."""
    return next((shell for shell in COMMAND_SHELLS if Path(shell).exists()), SHELL)


def launcher_script(command: str, *, service_id: str, exit_path: Path, shell: str, limits: str = "") -> str:
    """
    The text of C{run.sh}.

    @param limits: lines that set limits, from L{waiter.scheduler.local.limits.shell_lines}.
    """
    return _SCRIPT.format(
        service_id=service_id, shell=shell, command=quote(command), exit=quote(str(exit_path.absolute())), limits=limits
    )


@attrs.define
class Launcher:
    """
    A launcher that waits at its gate. It has to be reaped, by its pid.

    @ivar pid: its process, which leads a session and a process group of its own.
    """

    pid: int
    _gate: int

    def open_gate(self) -> None:
        """Let it run the command."""
        try:
            os.write(self._gate, b"go\n")
        except BrokenPipeError:
            # It has been killed; its end is noticed like any other.
            pass
        finally:
            os.close(self._gate)

    def give_up(self) -> None:
        """Let it end without running the command."""
        os.close(self._gate)


def launch(
    directory: InstanceDirectory,
    environment: Mapping[str, str],
    descriptors: Sequence[int],
    user: User | None = None,
) -> Launcher:
    """
    Run C{run.sh} of the directory as the leader of a session and process group of its own, with its output going straight
    to files, up to its gate.

    @param descriptors: stay open in the process.
    @param user: whom to run it as; who this process runs as if not given.
    @raise OSError: the process cannot be started.
    """
    waiting, gate = os.pipe2(os.O_CLOEXEC)
    try:
        with directory.open_output(user) as (stdout, stderr):
            # Reaped by pid when nothing is left of the instance: until then the pid cannot be used again.
            process = subprocess.Popen(
                [SHELL, str(directory.script)],
                cwd=directory.work,
                env=environment,
                stdin=waiting,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                close_fds=True,
                pass_fds=descriptors,
                umask=0o022,
                user=None if user is None else user.uid,
                group=None if user is None else user.gid,
                extra_groups=None if user is None else user.groups,
            )
    except BaseException:
        os.close(gate)
        raise
    finally:
        os.close(waiting)
    # Keeps the object from waiting for the process when it is deleted.
    process.returncode = 0
    return Launcher(process.pid, gate)
