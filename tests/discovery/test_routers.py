"""The directory of one router, and the double, against the contract."""

from twisted.trial.unittest import SynchronousTestCase

from tests.contracts.router_directories import DirectoryUnderTest, router_directory_contract
from tests.doubles.routers import MemoryRouterDirectory
from waiter.discovery.routers import StaticRouterDirectory

URL = "http://127.0.0.1:9091/"


def static(test):
    return DirectoryUnderTest(directory=StaticRouterDirectory("r", URL), router_id="r", url=URL)


def in_memory(test):
    directory = MemoryRouterDirectory("r", URL)
    return DirectoryUnderTest(directory=directory, router_id="r", url=URL, join=directory.join, leave=directory.leave)


class StaticRouterDirectoryContractTests(router_directory_contract(static, others=False)):
    pass


class MemoryRouterDirectoryContractTests(router_directory_contract(in_memory)):
    pass


class StaticRouterDirectoryTests(SynchronousTestCase):
    def test_when_the_url_has_no_slash_it_gets_one(self):
        directory = StaticRouterDirectory("r", "http://h:1")
        self.assertEqual(self.successResultOf(directory.members()), {"r": "http://h:1/"})
