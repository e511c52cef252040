"""The local scheduler keeps the contract of all schedulers, with real processes."""

from twisted.trial.unittest import TestCase

from tests.contracts.schedulers import SchedulerContract
from tests.scheduler.local.world import World
from tests.scheduler.servers import program


class LocalSchedulerContractTests(World, SchedulerContract, TestCase):
    timeout = 60

    async def setUp(self):
        self.prepare()
        await super().setUp()
        self.addCleanup(self.assert_nothing_left)
        # Cleanups run in reverse: first the scheduler stops, then nothing may be left.
        self.addCleanup(self.scheduler.stopService)

    def working(self, name):
        return self.service(name)

    def failing(self, name):
        return self.service(name, cmd=program("sys.exit(3)"))

    def forbidden(self, name):
        return self.service(name, run_as_user="somebody-else")
