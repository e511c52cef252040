"""What instances take of a machine."""

from typing import Self

import attrs

from waiter.model.description import ServiceDescription

# Sums of tenths are a little more or less than they should be.
_SLACK = 1e-6


@attrs.frozen(kw_only=True)
class Resources:
    """
    Differences may be negative.

    @ivar cpus: in CPUs of the machine; parts of one count.
    @ivar mem: in MiB.
    """

    cpus: float = 0.0
    mem: float = 0.0

    @classmethod
    def of(cls, description: ServiceDescription) -> Self:
        """What one instance of a service is described to need."""
        return cls(cpus=description.cpus, mem=description.mem)

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(cpus=self.cpus + other.cpus, mem=self.mem + other.mem)

    def __sub__(self, other: "Resources") -> "Resources":
        return Resources(cpus=self.cpus - other.cpus, mem=self.mem - other.mem)

    def fits(self, room: "Resources") -> bool:
        """Whether C{room} has as much of everything."""
        return self.cpus <= room.cpus + _SLACK and self.mem <= room.mem + _SLACK


NOTHING = Resources()


@attrs.frozen(kw_only=True)
class Shortage:
    """
    Why the next instance of a service is not started yet: there is not enough room for it.

    @ivar place: its place in the line of those that wait for room; 0 is the first.
    @ivar room: what there is for it as soon as everything that is ending has ended.
    """

    place: int
    room: Resources
