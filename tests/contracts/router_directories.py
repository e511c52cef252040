"""What every router directory must do."""

from collections.abc import Callable
from typing import Any

import attrs
from twisted.application.service import IService
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from waiter.discovery.routers import IRouterDirectory


@attrs.define(kw_only=True)
class DirectoryUnderTest:
    """
    A directory, and what can be done about it from outside.

    @ivar router_id: the router whose directory it is.
    @ivar url: under which URL it is to be listed.
    @ivar join: lets another router, given by id and URL, join; C{None} for a directory of one.
    @ivar leave: lets a router that joined leave.
    @ivar settle: fires when the directory has had the time to notice.
    """

    directory: Any
    router_id: str
    url: str
    join: Callable[[str, str], object] | None = None
    leave: Callable[[str], object] | None = None
    settle: Callable[[], Deferred[None]] = lambda: succeed(None)


def router_directory_contract(make: Callable[[TestCase], DirectoryUnderTest], *, others: bool = True) -> type[TestCase]:
    """
    The test case that a directory must pass.

    @param make: makes a fresh one that is not started; told the running test, for its clean-ups.
    @param others: whether other routers can join; without them C{join} and C{leave} are not used.
    """

    class RouterDirectoryContract(TestCase):
        async def started(self) -> DirectoryUnderTest:
            under_test = make(self)
            await maybeDeferred(under_test.directory.startService)
            self.addCleanup(under_test.directory.stopService)
            return under_test

        def test_it_is_a_directory_and_a_service(self):
            directory = make(self).directory
            self.assertTrue(verifyObject(IRouterDirectory, directory))
            self.assertTrue(verifyObject(IService, directory))

        async def test_when_it_has_started_it_lists_its_own_router(self):
            under_test = await self.started()
            self.assertEqual(await under_test.directory.members(), {under_test.router_id: under_test.url})

        async def test_urls_end_with_a_slash(self):
            under_test = await self.started()
            for url in (await under_test.directory.members()).values():
                self.assertRegex(url, r"^https?://[^/]+/$")

        async def test_when_there_is_one_router_it_leads(self):
            under_test = await self.started()
            await under_test.settle()
            self.assertEqual(await under_test.directory.leader(), under_test.router_id)

        async def test_when_it_is_asked_twice_the_answers_are_apart(self):
            under_test = await self.started()
            first, second = await under_test.directory.members(), await under_test.directory.members()
            self.assertEqual(first, second)
            self.assertIsNot(first, second)

        async def test_when_nothing_happens_subscribers_hear_nothing(self):
            under_test = await self.started()
            await under_test.settle()
            heard = []
            under_test.directory.subscribe(lambda: heard.append(True))
            await under_test.settle()
            self.assertEqual(heard, [])

    class WithOthersContract(RouterDirectoryContract):
        async def test_when_a_router_joins_and_leaves_it_is_listed_in_between_and_subscribers_hear_of_it(self):
            under_test = await self.started()
            heard = []
            under_test.directory.subscribe(lambda: heard.append(True))
            own = {under_test.router_id: under_test.url}
            before = await under_test.directory.members()

            under_test.join("another", "http://10.0.0.2:9091/")
            await under_test.settle()
            self.assertEqual(await under_test.directory.members(), {**own, "another": "http://10.0.0.2:9091/"})
            self.assertEqual(before, own)
            told = len(heard)
            self.assertGreaterEqual(told, 1)

            under_test.leave("another")
            await under_test.settle()
            self.assertEqual(await under_test.directory.members(), own)
            self.assertGreater(len(heard), told)

        async def test_the_leader_is_one_of_the_members_or_nobody(self):
            under_test = await self.started()
            under_test.join("another", "http://10.0.0.2:9091/")
            await under_test.settle()
            self.assertIn(await under_test.directory.leader(), {None, *await under_test.directory.members()})

    return WithOthersContract if others else RouterDirectoryContract
