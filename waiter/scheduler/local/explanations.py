"""Why an instance failed, in words that tell its user what to do: pure rules."""

import errno
import signal
from collections.abc import Sequence

import attrs

from waiter.model.instance import Flag
from waiter.scheduler.health import TIMEOUT, TLS, HealthResult
from waiter.scheduler.local.interface import Excess
from waiter.scheduler.local.listening import ListeningSocket

_EVERY_IPV6 = "::"

_KNOWN_CODES = {
    126: "the command is not executable",
    127: "the command was not found",
}

#: By what a temporary refusal of the system is called: what is waited for, and what can be done.
_LACKS = {
    errno.ENOSPC: ("disk space", "make room on the disk that holds Waiter's state directory"),
    errno.EDQUOT: ("disk space", "raise the disk quota of the user that Waiter runs as, or delete files of that user"),
    errno.EMFILE: ("file descriptors", "raise the limit of open files (ulimit -n) that Waiter is started with"),
    errno.ENFILE: ("file descriptors", "raise the machine's limit of open files (sysctl fs.file-max)"),
    errno.EAGAIN: ("processes", "raise the limit of processes (ulimit -u) of the user that Waiter runs as"),
    errno.ENOMEM: ("memory", "stop other programs of this machine that use much of it"),
}


@attrs.frozen
class Explanation:
    """
    @ivar fact: what happened: whole sentences.
    @ivar advice: what a user can do about it: whole sentences, too, or empty.
    """

    fact: str
    advice: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.fact, self.advice)))


def exit_words(exit_code: int | None) -> str:
    """C{exit code 127 (the command was not found)}."""
    if exit_code is None:
        return "an unknown exit code"
    number = _signal(exit_code)
    known = _KNOWN_CODES.get(exit_code) or (number and f"ended by {number.name}")
    return f"exit code {exit_code}" + (f" ({known})" if known else "")


def exited(
    exit_code: int | None,
    *,
    age_secs: float,
    was_healthy: bool,
    left_behind: bool = False,
    has_output: bool = True,
    kernel_kills: bool = False,
) -> Explanation:
    """
    The command ended by itself.

    @param left_behind: whether processes that it had started went on.
    @param has_output: whether it wrote anything.
    @param kernel_kills: whether the kernel killed some process of the machine for lack of memory at about that time.
    """
    fact = f"The command ended with {exit_words(exit_code)} {age_secs:.1f} s after its start"
    fact += "." if was_healthy else ", before it passed a health check."
    by_signal = None if exit_code is None else _signal(exit_code)
    if kernel_kills and (exit_code is None or by_signal is signal.SIGKILL):
        fact += " At about that time the kernel killed a process for lack of memory: most likely this one."
        advice = "Ask for more with mem, so that room is kept for it, or let it use less."
    elif exit_code == 0 and (left_behind or not was_healthy):
        advice = (
            "It must stay in the foreground: a command that starts a server in the background and returns counts as "
            "ended, and what it started is stopped."
        )
    elif exit_code == 127:
        advice = (
            "Check the spelling, or name the program with its whole path: an instance has the PATH of Waiter, not that of "
            "your shell."
        )
    elif exit_code == 126:
        advice = 'Make the file executable, or name the program that runs it, as in "python3 server.py".'
    elif by_signal is signal.SIGKILL:
        advice = "Nothing in Waiter did that: look for who kills processes, the kernel for lack of memory for one."
    else:
        says = "Its last output may tell why" if has_output else "It wrote nothing that tells why"
        advice = f"{says}; the same command can be tried in a shell after export PORT0=8080."
    return Explanation(fact, advice)


def never_passed(
    *, grace_secs: float, check: HealthResult | None, port_name: str, port: int, listeners: Sequence[ListeningSocket]
) -> Explanation:
    """
    The grace period passed without a healthy answer.

    @param check: the last one.
    @param port_name: the variable by which the instance knows the port that is checked, as in C{$PORT0}.
    @param listeners: where it listens, as far as that was looked up.
    """
    fact = f"It did not pass a health check within {grace_secs:g} s (grace-period-secs)."
    if check is not None and (Flag.HAS_CONNECTED in check.flags or check.error in {TIMEOUT, TLS}):
        seen = _answered_wrong(check)
    else:
        seen = _not_reached(port_name, port, listeners)
    return Explanation(f"{fact} {seen.fact}", seen.advice)


def not_healthy_yet(check: HealthResult) -> Explanation:
    """
    What is seen of an instance that may still become healthy, or do so again. If it answers but not as it should, that will
    hardly pass by itself, other than no answer at all or 5xx.
    """
    will_pass = check.status is None or check.status >= 500
    return Explanation(_last(check)) if will_pass else _answered_wrong(check)


def no_longer_healthy(*, failures: int, secs: float, check: HealthResult) -> Explanation:
    """It had been healthy and stopped answering."""
    return Explanation(
        f"It had been healthy, then it failed {failures} health checks in a row over {secs:.0f} s. {_last(check)}",
        "If it may be busy for that long, raise health-check-interval-secs or health-check-max-consecutive-failures.",
    )


def exceeded(excess: Excess) -> Explanation:
    """It used more than it may, and was killed for it."""
    its = "Its process" if excess.processes == 1 else f"Its {excess.processes} processes together"
    if excess.most_mem_mib is not None:
        return Explanation(
            f"{its} used {excess.mem_mib:.0f} MiB of memory, and mem allows {excess.most_mem_mib:.0f} MiB, so it was "
            "killed.",
            "Ask for more with mem (the header x-waiter-mem), or let it use less.",
        )
    return Explanation(
        f"It had {excess.processes} processes, and an instance may have {excess.most_processes}, so it was killed.",
        "Let it start fewer, or raise max-processes in the settings of the scheduler.",
    )


def port_taken(port: int, exit_code: int | None) -> Explanation:
    """Another program has the port."""
    return Explanation(
        f"The command ended with {exit_words(exit_code)}, and port {port}, which it was given, is in use by another "
        "program of this machine.",
        "Waiter's port-range should hold no ports that other programs use.",
    )


def with_lack_of_room(explanation: Explanation, lack: str) -> Explanation:
    """An instance failed while C{lack} was true of its disk: most likely because of it."""
    return Explanation(f"{explanation.fact} {lack}.", "Make room there; the instance may have failed for want of it.")


def not_started(problem: Exception) -> str:
    """The operating system refused."""
    return f"It could not be started: {_strerror(problem)}."


def waits_for(problem: Exception) -> str | None:
    """
    What the machine lacks at this moment for a start; C{None} if C{problem} is of another kind, which waiting does not
    cure.
    """
    number = problem.errno if isinstance(problem, OSError) else None
    if number not in _LACKS:
        return None
    what, advice = _LACKS[number]
    return f"Waits for {what}: an instance could not be started ({_strerror(problem)}). To end the wait, {advice}"


def _not_reached(port_name: str, port: int, listeners: Sequence[ListeningSocket]) -> Explanation:
    named_port = f"{port_name} ({port})"
    there = [listener for listener in listeners if listener.port == port]
    if any(listener.reachable and listener.address != _EVERY_IPV6 for listener in there):
        return Explanation(
            f"It listens on {named_port}, but has done so for too short a time to be checked.",
            "Raise grace-period-secs above what it needs to start.",
        )
    if there:
        only = " for IPv6" if all(listener.address == _EVERY_IPV6 for listener in there) else ""
        return Explanation(
            f"It listens on {_list(there)} only{only}; Waiter connects to 127.0.0.1.",
            "Let it listen on 127.0.0.1, or on 0.0.0.0.",
        )
    if listeners:
        several = len({listener.port for listener in listeners}) > 1
        numbers = ", ".join(str(number) for number in dict.fromkeys(listener.port for listener in listeners))
        return Explanation(
            f"It listens on port{'s' if several else ''} {numbers} instead of {named_port}.",
            f"Give the command {port_name} as the port to listen on.",
        )
    return Explanation(
        f"Nothing listened on {named_port}.",
        f"The command must listen on port {port_name} of 127.0.0.1; if it only needs longer to start, raise "
        "grace-period-secs.",
    )


def _answered_wrong(check: HealthResult) -> Explanation:
    """Something is there, but not a healthy answer."""
    status = check.status
    if status == 401:
        advice = (
            "Give health-check-url a path that answers 2xx without credentials, or set health-check-authentication to standard "
            "if it takes those that Waiter's requests carry."
        )
    elif status is not None and 300 <= status < 400:
        advice = "Redirects are not followed: give health-check-url the path that answers 200 itself."
    elif status is not None and status >= 500:
        advice = "Find out why the service answers so, or give health-check-url a path that answers 200."
    elif status is not None:
        advice = "Give health-check-url a path that the service answers with 200."
    elif check.error == TIMEOUT:
        advice = "Give health-check-url a path that is answered at once; what listens there must be a server for HTTP."
    elif check.error == TLS:
        advice = (
            "What listens there must speak TLS, as backend-proto https says, and prove who it is, if backend-tls is set in "
            "Waiter's settings."
        )
    else:
        advice = "What listens there must be a server for plain HTTP/1, as backend-proto http says."
    return Explanation(_last(check), advice)


def _last(check: HealthResult) -> str:
    return f"The last health check: {check.message}."


def _list(listeners: Sequence[ListeningSocket]) -> str:
    return " and ".join(map(str, listeners))


def _signal(exit_code: int) -> signal.Signals | None:
    """A shell reports a command that a signal ended as 128 plus the signal's number."""
    try:
        return signal.Signals(exit_code - 128)
    except ValueError:
        return None


def _strerror(problem: Exception) -> str:
    return getattr(problem, "strerror", None) or str(problem)
