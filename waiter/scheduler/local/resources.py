"""What instances take of a machine."""

import attrs


@attrs.frozen(kw_only=True)
class Resources:
    """
    @ivar cpus: in CPUs of the machine; parts of one count.
    @ivar mem: in MiB.
    """

    cpus: float = 0.0
    mem: float = 0.0
