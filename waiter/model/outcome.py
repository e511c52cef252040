"""How the use of a slot ended."""

from enum import Enum


class Outcome(str, Enum):
    """
    What a lease is released with (spec: outcome statuses of a request).

    C{INSTANCE_ERROR}, C{INSTANCE_BUSY} and C{KILLED} eject the instance; only C{SUCCESS} clears its history of failures.
    C{NOT_KILLED} and C{KILLED} end reservations for a kill.
    """

    SUCCESS = "success"
    CLIENT_ERROR = "client-error"
    GENERIC_ERROR = "generic-error"
    INSTANCE_ERROR = "instance-error"
    INSTANCE_BUSY = "instance-busy"
    SOCKET_TIMEOUT = "socket-timeout"
    KILLED = "killed"
    NOT_KILLED = "not-killed"
