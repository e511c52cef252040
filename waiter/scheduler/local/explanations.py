"""Why an instance failed, in words that tell its user what to do: pure rules."""

import signal

_KNOWN_CODES = {
    126: "the command is not executable",
    127: "the command was not found",
}


def exit_words(exit_code: int | None) -> str:
    """C{exit code 127 (the command was not found)}."""
    if exit_code is None:
        return "an unknown exit code"
    known = _KNOWN_CODES.get(exit_code)
    if known is None and exit_code > 128:
        try:
            # A shell reports a command that a signal ended as 128 plus the signal's number.
            known = f"ended by {signal.Signals(exit_code - 128).name}"
        except ValueError:
            known = None
    return f"exit code {exit_code}" + (f" ({known})" if known else "")


def exited(exit_code: int | None, *, age_secs: float, was_healthy: bool, left_behind: bool = False) -> str:
    """
    The command ended by itself.

    @param left_behind: whether processes that it had started went on.
    """
    text = f"The command ended with {exit_words(exit_code)} {age_secs:.1f} s after its start"
    if not was_healthy:
        text += ", before it passed a health check"
    if exit_code == 0 and (left_behind or not was_healthy):
        text += (
            ". It must stay in the foreground: a command that starts a server in the background and returns counts as "
            "ended, and what it started is stopped"
        )
    return f"{text}."


def never_passed(*, grace_secs: float, last_check: str | None) -> str:
    """The grace period passed without a healthy answer."""
    seen = f" The last check: {last_check}." if last_check else ""
    return (
        f"It did not pass a health check within its grace period of {grace_secs:g} s.{seen} The command must listen on "
        "$PORT0 of 127.0.0.1 and answer health-check-url with a status of 200 to 299; if it only needs longer to start, "
        "raise grace-period-secs."
    )


def no_longer_healthy(*, failures: int, secs: float, last_check: str) -> str:
    """It had been healthy and stopped answering."""
    return f"It failed {failures} health checks in a row over {secs:.0f} s. The last check: {last_check}."


def port_taken(port: int, exit_code: int | None) -> str:
    """Another program has the port."""
    return (
        f"The command ended with {exit_words(exit_code)}, and port {port}, which it was given, is in use by another "
        "program of this machine."
    )


def not_started(problem: Exception) -> str:
    """The operating system refused."""
    return f"It could not be started: {getattr(problem, 'strerror', None) or problem}."
