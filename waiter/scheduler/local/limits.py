"""What one instance may take of the machine beside memory and CPUs: pure rules."""

import resource
from collections.abc import Mapping

import attrs

_UNLIMITED = resource.RLIM_INFINITY
#: Of the processes that a user may have, so many are kept for Waiter itself when instances run as the same user: at least
#: these, and a twentieth of them.
_KEPT_PROCESSES = 64
_KEPT_SHARE = 20
_SHELL = {
    resource.RLIMIT_CORE: "ulimit -c {0} || exit 126",
    resource.RLIMIT_NOFILE: "ulimit -n {0} || exit 126",
    resource.RLIMIT_FSIZE: "ulimit -f $(({0} / 512)) || exit 126",
    # One is what most shells call it, the other is dash's word.
    resource.RLIMIT_NPROC: "ulimit -u {0} 2> /dev/null || ulimit -p {0} || exit 126",
}


@attrs.frozen(kw_only=True)
class InstanceLimits:
    """
    The bounds on one instance.

    @ivar max_open_files: of each of its processes.
    @ivar max_processes: of all together, counted now and then.
    @ivar max_file_bytes: of any file that it writes, its output included; C{None} for no bound.
    """

    max_open_files: int = 16384
    max_processes: int = 512
    max_file_bytes: int | None = None

    def resources(self, own: Mapping[int, tuple[int, int]], *, shares_user: bool) -> Mapping[int, tuple[int, int]]:
        """
        The resource limits of each process, soft and hard.

        Soft and hard are the same, so that what is set holds. None is above what this process may have itself, so that
        nobody needs a privilege to set them. The number of processes is counted for each user by the kernel, not for each
        instance, and not at all for root: it is only seen to that instances cannot take all of what Waiter needs too.

        @param own: the limits of this process: C{RLIMIT_NOFILE}, C{RLIMIT_FSIZE} and C{RLIMIT_NPROC}.
        @param shares_user: whether the instance runs as the user that Waiter runs as, and that is not root.
        """
        limits = {
            resource.RLIMIT_CORE: (0, 0),
            resource.RLIMIT_NOFILE: _both(_at_most(self.max_open_files, own[resource.RLIMIT_NOFILE][1])),
        }
        if self.max_file_bytes is not None:
            limits[resource.RLIMIT_FSIZE] = _both(_at_most(self.max_file_bytes, own[resource.RLIMIT_FSIZE][1]))
        soft, hard = own[resource.RLIMIT_NPROC]
        if shares_user and soft != _UNLIMITED:
            kept = max(_KEPT_PROCESSES, soft // _KEPT_SHARE)
            limits[resource.RLIMIT_NPROC] = _both(_at_most(max(1, soft - kept), hard))
        return limits


def shell_lines(resources: Mapping[int, tuple[int, int]]) -> str:
    """
    The lines of a shell script that set these limits, soft and hard alike, for the script itself and what it runs.

    It is the instance that sets them: setting those of another user's process takes a privilege that root in a container
    may not have. A script that cannot set them ends.
    """
    return "".join(f"{_SHELL[which].format(hard)}\n" for which, (_, hard) in sorted(resources.items()))


def own_limits() -> Mapping[int, tuple[int, int]]:
    """The limits of this process that bear on those of instances."""
    return {
        which: resource.getrlimit(which)
        for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC)
    }


def _both(limit: int) -> tuple[int, int]:
    return limit, limit


def _at_most(wanted: int, hard: int) -> int:
    return wanted if hard == _UNLIMITED else min(wanted, hard)
