"""How many connections clients may have."""

from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

from waiter.telemetry.counters import RouterMetrics


class Door:
    """
    Counts the connections of clients: all of them, and those that come from one address.

    When there are enough, no more are to be accepted until one of them is gone. A client that has enough of its own is to be
    turned away, which costs less than to serve it and leaves room for others.

    @ivar open: connections now.
    @ivar most: so many are enough; C{None} for no bound.
    @ivar most_per_address: from one address; 0 for no bound. Connections without an address, on UNIX sockets, do not count.
    """

    def __init__(
        self, *, most: int | None = None, most_per_address: int = 0, numbers: RouterMetrics | None = None
    ) -> None:
        """
        @param numbers: where it is counted whom there was no room for.
        """
        self._numbers = numbers or RouterMetrics()
        self.open = 0
        self.most = most
        self.most_per_address = most_per_address
        self._of: dict[str, int] = {}
        self._full = False
        self._watchers: list[Callable[[bool], object]] = []

    @property
    def full(self) -> bool:
        """Whether there are enough."""
        return self._full

    def watch(self, watcher: Callable[[bool], object]) -> None:
        """Have C{watcher} told whenever that changes."""
        self._watchers.append(watcher)

    def welcomes(self, host: str | None) -> bool:
        """
        Whether another connection may come from an address. If not, it is counted as refused.

        @param host: the address; C{None} if there is none.
        """
        if not self.most_per_address or self._of.get(group_of(host) or "", 0) < self.most_per_address:
            return True
        self._numbers.refused_total += 1
        return False

    def came(self, host: str | None) -> str | None:
        """
        There is one more connection.

        @return: what to say when it is gone.
        """
        group = group_of(host) if self.most_per_address else None
        if group is not None:
            self._of[group] = self._of.get(group, 0) + 1
        self.open += 1
        self._look()
        return group

    def went(self, group: str | None) -> None:
        """
        A connection is gone.

        @param group: what L{came} gave for it.
        """
        if group is not None:
            left = self._of[group] - 1
            if left:
                self._of[group] = left
            else:
                del self._of[group]
        self.open -= 1
        self._look()

    def limit(self, most: int | None) -> None:
        """From now on so many are enough. None that are there are sent away."""
        self.most = most
        self._look()

    def _look(self) -> None:
        full = self.most is not None and self.open >= self.most
        if full is not self._full:
            self._full = full
            for watcher in self._watchers:
                watcher(full)


def group_of(host: str | None) -> str | None:
    """
    What is taken for one client: an IPv4 address, or the first 64 bits of an IPv6 address, as who has one has them all.
    """
    if host is None or ":" not in host:
        return host
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{address.packed[:8].hex()}::/64"


def share_of(open_files: int) -> int:
    """
    How many clients' connections a process has room for that may have so many files open.

    Each may need a connection to an instance beside its own, and the rest of the program some for itself.
    """
    return max(1, (open_files - min(256, open_files // 2)) // 2)
