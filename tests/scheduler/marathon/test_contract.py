"""The Marathon scheduler keeps the contract of all schedulers, with real processes behind the double."""

from twisted.trial.unittest import TestCase

from tests.contracts.schedulers import SchedulerContract
from tests.scheduler.marathon.world import World
from tests.scheduler.servers import program


class MarathonSchedulerContractTests(World, SchedulerContract, TestCase):
    timeout = 60

    async def setUp(self):
        self.start_double()
        await super().setUp()

    def working(self, name):
        return self.service(name)

    def failing(self, name):
        return self.service(name, cmd=program("sys.exit(3)"))

    def forbidden(self, name):
        return self.service(name, run_as_user="somebody-else")
