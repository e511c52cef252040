"""What the client does, whether kazoo and a server are behind it or their doubles."""

from twisted.internet.defer import DeferredList, gatherResults

from waiter.fleet.nodes import (
    LARGEST_REQUEST,
    BadVersion,
    NodeExists,
    NodeTooLarge,
    NoNode,
    NotEmpty,
    State,
    checking,
    creating,
    deleting,
    setting,
)


class ZooKeeperClientContract:
    """
    Mixed into a C{TestCase}; the subclass says how a client is made.

    Everything happens below C{self.root}, which is new for each test.
    """

    root = "/contract"

    def make_client(self):
        """A client that is not started, of the same ZooKeeper each time within a test."""
        raise NotImplementedError

    async def started(self):
        client = self.make_client()
        await client.startService()
        self.addCleanup(lambda: client.stopService() if client.running else None)
        await client.create_path(self.root)
        return client

    async def test_whenItHasStarted_itIsConnectedInASession(self):
        client = await self.started()
        self.assertEqual((client.state, await client.connected()), (State.CONNECTED, None))
        self.assertGreater(client.session_id, 0)

    async def test_whatIsCreatedIsRead(self):
        client = await self.started()
        path, made = await client.create(f"{self.root}/a", b"\x00data")
        self.assertEqual(path, f"{self.root}/a")
        data, stat = await client.get(path)
        self.assertEqual((data, stat, stat.version, stat.owner), (b"\x00data", made, 0, 0))
        self.assertEqual(await client.exists(path), stat)
        self.assertEqual(await client.get_children(self.root), ["a"])

    async def test_whatIsNotThereFails(self):
        client = await self.started()
        self.assertIsNone(await client.exists(f"{self.root}/a"))
        for refused in (
            client.get(f"{self.root}/a"),
            client.get_children(f"{self.root}/a"),
            client.set(f"{self.root}/a", b""),
            client.delete(f"{self.root}/a"),
            client.create(f"{self.root}/a/b"),
        ):
            with self.assertRaises(NoNode):
                await refused

    async def test_whatIsThereIsNotCreatedAgain(self):
        client = await self.started()
        await client.create(f"{self.root}/a", b"1")
        with self.assertRaises(NodeExists):
            await client.create(f"{self.root}/a", b"2")
        self.assertEqual((await client.get(f"{self.root}/a"))[0], b"1")

    async def test_versionsAreCompared(self):
        client = await self.started()
        await client.create(f"{self.root}/a", b"1")
        before = await client.exists(f"{self.root}/a")
        stat = await client.set(f"{self.root}/a", b"2", 0)
        self.assertEqual(stat.version, 1)
        self.assertGreater(stat.modified, before.modified)
        for refused in (client.set(f"{self.root}/a", b"3", 0), client.delete(f"{self.root}/a", 0)):
            with self.assertRaises(BadVersion):
                await refused
        await client.set(f"{self.root}/a", b"3")
        await client.delete(f"{self.root}/a", 2)
        self.assertIsNone(await client.exists(f"{self.root}/a"))

    async def test_aNodeWithChildrenIsNotDeleted(self):
        client = await self.started()
        with self.assertRaises(NotEmpty):
            await client.create_path(f"{self.root}/a/b")
            await client.delete(f"{self.root}/a")

    async def test_pathsAreMadeAsFarAsTheyAreMissing(self):
        client = await self.started()
        await gatherResults([_flow(client.create_path(f"{self.root}/a/b/c")) for _ in range(3)])
        self.assertEqual(await client.get_children(f"{self.root}/a/b"), ["c"])

    async def test_sequenceNodesAreNumbered(self):
        client = await self.started()
        made = [(await client.create(f"{self.root}/n-", sequence=True))[0] for _ in range(3)]
        numbers = [int(path[-10:]) for path in made]
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + 3)))

    async def test_ephemeralNodesGoWithTheirSession(self):
        client, other = await self.started(), await self.started()
        _, stat = await other.create(f"{self.root}/e", ephemeral=True)
        self.assertEqual(stat.owner, other.session_id)
        self.assertEqual(await client.get_children(self.root), ["e"])
        await other.stopService()
        await client.sync(self.root)
        self.assertEqual(await client.get_children(self.root), [])

    async def test_aWatchTellsOfOneChangeOfTheChildren(self):
        client, other = await self.started(), await self.started()
        children, watch = client.get_children_and_watch(self.root)
        self.assertEqual(await children, [])
        await other.create(f"{self.root}/a")
        event = await watch
        self.assertEqual((event.type, event.path), ("CHILD", self.root))
        await other.create(f"{self.root}/b")
        self.assertEqual(sorted(await client.get_children(self.root)), ["a", "b"])

    async def test_aWatchTellsThatANodeComesAndGoes(self):
        client = await self.started()
        path = f"{self.root}/a"
        for change, type_ in (
            (lambda: client.create(path), "CREATED"),
            (lambda: client.set(path, b"1"), "CHANGED"),
            (lambda: client.delete(path), "DELETED"),
        ):
            asked, watch = client.exists_and_watch(path)
            await asked
            await change()
            self.assertEqual((await watch).type, type_)

    async def test_aTransactionIsCarriedOutAsOne(self):
        client = await self.started()
        await client.create(f"{self.root}/a", b"1")
        await client.create(f"{self.root}/b", b"1")
        checked, stat, path, deleted = await client.commit(
            [
                checking(f"{self.root}/a", 0),
                setting(f"{self.root}/a", b"2", 0),
                creating(f"{self.root}/n-", b"3", sequence=True),
                deleting(f"{self.root}/b"),
            ]
        )
        self.assertEqual((checked, deleted), (None, None))
        self.assertEqual(await client.get(f"{self.root}/a"), (b"2", stat))
        data, made = await client.get(path)
        # What was made in one transaction bears its number.
        self.assertEqual((data, made.modified), (b"3", stat.modified))

    async def test_aTransactionThatIsRefusedChangesNothingAndSaysWhere(self):
        client = await self.started()
        await client.create(f"{self.root}/a", b"1")
        guilty = setting(f"{self.root}/a", b"2", 7)
        with self.assertRaises(BadVersion) as caught:
            await client.commit([creating(f"{self.root}/b"), guilty, deleting(f"{self.root}/a")])
        self.assertIs(caught.exception.operation, guilty)
        with self.assertRaises(NoNode):
            await client.commit([setting(f"{self.root}/a", b"2"), deleting(f"{self.root}/missing")])
        with self.assertRaises(NodeExists):
            await client.commit([setting(f"{self.root}/a", b"2"), creating(f"{self.root}/a")])
        self.assertEqual(await client.get_children(self.root), ["a"])
        self.assertEqual((await client.get(f"{self.root}/a"))[0], b"1")

    async def test_whatIsTooLargeIsRefusedBeforeItIsSent(self):
        client = await self.started()
        await client.create(f"{self.root}/a")
        for refused in (
            client.set(f"{self.root}/a", bytes(LARGEST_REQUEST)),
            client.create(f"{self.root}/b", bytes(LARGEST_REQUEST)),
            client.commit([setting(f"{self.root}/a", bytes(600000)), creating(f"{self.root}/b", bytes(600000))]),
        ):
            with self.assertRaisesRegex(NodeTooLarge, "at most 1048575"):
                await refused
        self.assertEqual(client.state, State.CONNECTED)
        largest = bytes(LARGEST_REQUEST - 512 - len(f"{self.root}/a"))
        await client.set(f"{self.root}/a", largest)
        self.assertEqual((await client.get(f"{self.root}/a"))[0], largest)

    async def test_manyCallsAtOnceAreAllAnswered(self):
        client = await self.started()
        await gatherResults([client.create(f"{self.root}/{i}", b"%d" % i) for i in range(200)])
        answers = await gatherResults([client.get(f"{self.root}/{i}") for i in range(200)])
        self.assertEqual([data for data, _ in answers], [b"%d" % i for i in range(200)])

    async def test_whenItHasStopped_callsFail(self):
        client = await self.started()
        asked = [client.get(self.root) for _ in range(20)]
        outcomes = DeferredList(asked, consumeErrors=True)
        await client.stopService()
        await outcomes
        self.assertEqual(client.state, State.LOST)
        with self.assertRaisesRegex(Exception, "not connected"):
            await client.get(self.root)

    async def test_itCanBeStartedAgain(self):
        client = await self.started()
        session = client.session_id
        await client.stopService()
        await client.startService()
        self.assertNotEqual(client.session_id, session)
        await client.create(f"{self.root}/a")


def _flow(coroutine):
    from twisted.internet.defer import Deferred

    return Deferred.fromCoroutine(coroutine)
