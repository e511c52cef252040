"""How far a request has come."""

from enum import Enum


class Phase(Enum):
    """
    C{FINDING}: it has no slot. C{ASKING}: it has one, and no answer. C{ANSWERING}: the client has been sent a part of the
    answer, so nothing can be taken back. C{OVER}: nothing more happens.
    """

    FINDING = 0
    ASKING = 1
    ANSWERING = 2
    OVER = 3
