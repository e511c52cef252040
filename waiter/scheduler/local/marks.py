"""What shows that a process belongs to an instance: its environment, or the files it holds."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import attrs

from waiter.model.resources import NOTHING, Resources

# What the environments of other servers' instances say is anybody's word: nothing can need more than this.
_MOST_CPUS = 10_000.0
_MOST_MEM = 1e9


@attrs.frozen(kw_only=True)
class Mark:
    """
    What an instance's environment says.

    @ivar owner: the user whose process says so.
    @ivar declared: what the instance was promised; nothing where the environment does not say it.
    """

    instance_id: str
    owner: int | None = None
    declared: Resources = NOTHING


def read_mark(pid: int) -> Mark | None:
    """What the environment of a process says; C{None} if it names no instance or cannot be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:  # noqa: PTH123 - the fastest
            environment = b"\0" + file.read()
            mark = mark_of(environment)
            return None if mark is None else attrs.evolve(mark, owner=os.fstat(file.fileno()).st_uid)
    except OSError:
        # Another user's.
        return None


def mark_of(environment: bytes) -> Mark | None:
    """@param environment: variables, each with a zero before it."""
    instance_id = _variable(environment, b"WAITER_INSTANCE_ID")
    if instance_id is None:
        return None
    return Mark(
        instance_id=instance_id,
        declared=Resources(
            cpus=_number(_variable(environment, b"WAITER_CPUS"), _MOST_CPUS),
            mem=_number(_variable(environment, b"WAITER_MEM_MB"), _MOST_MEM),
        ),
    )


def instance_by_files(pid: int) -> str | None:
    """
    The instance in whose directory a process works or writes its output.

    Servers like nginx write their titles over their environment. While the launcher lives its group tells what is its
    own; this is for those whose launcher has been killed.
    """
    for place in places(pid):
        for inner in Path(place).parents:
            # services/<service-id>/<instance-id>/..., where an instance id is its service's id, a dot and more.
            if inner.name.startswith(f"{inner.parent.name}.") and inner.parent.name:
                return inner.name
    return None


def places(pid: int) -> Iterator[str]:
    """Where a process works and writes its output, as far as this process may see that."""
    for link in ("cwd", "fd/1", "fd/2"):
        try:
            yield os.readlink(f"/proc/{pid}/{link}")  # noqa: PTH115 - the fastest
        except OSError:
            # Another user's, or gone.
            continue


def _variable(environment: bytes, name: bytes) -> str | None:
    mark = b"\0" + name + b"="
    start = environment.find(mark)
    if start < 0:
        return None
    start += len(mark)
    return environment[start : environment.find(b"\0", start)].decode("utf-8", "replace")


def _number(text: str | None, most: float) -> float:
    """A number from 0 to C{most}; 0 for what is none."""
    try:
        number = float(text or "")
    except ValueError:
        return 0.0
    return min(most, number) if math.isfinite(number) and number > 0 else 0.0
