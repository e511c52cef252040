"""L{waiter.scheduler.marathon.validation}."""

from twisted.trial.unittest import SynchronousTestCase

from waiter.errors import ServiceForbidden, ServiceMisconfigured
from waiter.model.description import ServiceDescription
from waiter.scheduler.marathon.validation import check_may_run


def description(**parameters):
    return ServiceDescription(**{"cmd": "x", "cpus": 1, "mem": 1, "run_as_user": "alice", "version": "1"} | parameters)


class MayRunTests(SynchronousTestCase):
    def test_onlyTheCallerIsRunAsUnlessItIsSetOtherwise(self):
        check_may_run(description(), user="alice", privileged=False)
        check_may_run(description(run_as_user="bob"), user="alice", privileged=True)
        with self.assertRaises(ServiceForbidden):
            check_may_run(description(run_as_user="bob"), user="alice", privileged=False)

    def test_checksWithCredentialsAreRefused(self):
        with self.assertRaises(ServiceMisconfigured) as caught:
            check_may_run(description(health_check_authentication="standard"), user="alice", privileged=True)
        self.assertIn("health-check-authentication standard is not supported by Marathon", str(caught.exception))
