"""What one instance shows of its failure, in words and as data."""

from collections.abc import Sequence
from typing import Any

from waiter.model.instance import Instance

_MOST_LINES = 10
_LONGEST_LINE = 300


def failures_in_words(failed: Sequence[Instance]) -> str:
    """C{2 instances failed, the last one on 127.0.0.1 port 10494.}; C{failed} has one at least, in instance order."""
    many = "1 instance failed" if len(failed) == 1 else f"{len(failed)} instances failed, the last one"
    return f"{many} on {failed[-1].host} port {failed[-1].port}."


def failure_lines(instance: Instance) -> list[str]:
    """What happened, what to do about it and the last output, each as far as it is known: lines for a person."""
    lines = [line for line in (instance.message, instance.advice) if line]
    output = _output(instance)
    if output:
        lines.append("Its last output:")
        lines.extend(f"    {line}" for line in output)
    return lines


def failure_facts(instance: Instance) -> dict[str, Any]:
    """The same as JSON-able data."""
    return {
        "advice": instance.advice,
        "exit-code": instance.exit_code,
        "flags": sorted(flag.value for flag in instance.flags),
        "health-check-status": instance.health_check_status,
        "host": instance.host,
        "id": instance.id,
        "last-output": _output(instance),
        "message": instance.message,
        "port": instance.port,
    }


def _output(instance: Instance) -> list[str]:
    return [_shortened(line) for line in instance.last_output[-_MOST_LINES:]]


def _shortened(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}..."
