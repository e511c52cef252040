"""Who is to blame when a request fails."""

from errno import EADDRNOTAVAIL, EMFILE, ENFILE, ENOBUFS, ENOMEM

from twisted.python.failure import Failure

from waiter.errors import InstanceUnproven, InstanceUnreachable, WaiterError
from waiter.model.outcome import Outcome
from waiter.support.trust import CertificateRefused

# Too many files, buffers or ports in use here: another instance would do no better, and none is to blame.
_OUR_OWN_FAULT = frozenset({EADDRNOTAVAIL, EMFILE, ENFILE, ENOBUFS, ENOMEM})
_OUTCOMES = {"client-error": Outcome.CLIENT_ERROR, "instance-error": Outcome.INSTANCE_ERROR}


def outcome_of(error: WaiterError) -> Outcome:
    """What an error says about the instance that was asked."""
    return _OUTCOMES.get(error.cause, Outcome.GENERIC_ERROR)


def not_connected(failure: Failure) -> tuple[WaiterError, bool]:
    """
    Why there is no connection to an instance.

    @return: what to tell the client, and whether another instance may do better.
    """
    details = {"reason": failure.getErrorMessage()}
    if failure.check(CertificateRefused) is not None:
        # Others of the service would have the same certificate.
        return InstanceUnproven("The instance could not prove who it is", details=details), False
    error = InstanceUnreachable("Request failed to connect to service backend", details=details)
    return error, getattr(failure.value, "osError", None) not in _OUR_OWN_FAULT
