"""L{waiter.catalog.sqlite}."""

import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

from twisted.internet.defer import CancelledError, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.contracts.stores import PersistentStoreContract
from waiter.catalog.interface import Conflict, StoreUnusable
from waiter.catalog.sqlite import FORMAT, SQLiteStore


class InlinePool:
    """A pool whose work is done at once, so that tests need no thread."""

    def __init__(self, least, most, name):
        self.size = (least, most)

    def start(self):
        pass

    def stop(self):
        pass

    def callInThreadWithCallback(self, done, function, *args, **kwargs):
        from twisted.python.failure import Failure

        try:
            result = function(*args, **kwargs)
        except Exception:  # noqa: BLE001 - as a pool does
            done(False, Failure())
        else:
            done(True, result)


class InlineReactor:
    def callFromThread(self, function, *args, **kwargs):
        function(*args, **kwargs)


class SQLiteStoreContractTests(PersistentStoreContract, TestCase):
    def setUp(self):
        self.path = Path(self.mktemp())

    def make_store(self):
        from twisted.internet import reactor

        return SQLiteStore(reactor, self.path)


class ThreadTests(TestCase):
    async def test_thereIsAThreadOnlyWhileItRuns(self):
        from twisted.internet import reactor

        def threads():
            return [thread for thread in threading.enumerate() if "waiter-store" in thread.name]

        store = SQLiteStore(reactor, self.mktemp())
        self.assertEqual(threads(), [])
        await store.startService()
        self.assertEqual(len(threads()), 1)
        await store.stopService()
        self.assertEqual(threads(), [])

    async def test_whenItCannotBeOpened_noThreadStays(self):
        from twisted.internet import reactor

        store = SQLiteStore(reactor, Path(self.mktemp()) / "missing" / "waiter.db")
        with self.assertRaises(StoreUnusable):
            await store.startService()
        self.assertEqual([thread for thread in threading.enumerate() if "waiter-store" in thread.name], [])
        await maybeDeferred(store.stopService)

    async def test_whenStoppedWhileItOpens_bothEnd(self):
        from twisted.internet import reactor

        store = SQLiteStore(reactor, self.mktemp())
        starting = store.startService()
        await store.stopService()
        await starting
        with self.assertRaises(StoreUnusable):
            await store.get("key")

    async def test_whenAWriterLeaves_watchersHearOfTheWriteAllTheSame(self):
        from twisted.internet import reactor

        store = SQLiteStore(reactor, self.mktemp())
        await store.startService()
        self.addCleanup(store.stopService)
        heard = []
        store.watch("", heard.append)
        writing = store.put("key", b"1")
        writing.cancel()
        with self.assertRaises(CancelledError):
            await writing
        # There is one thread, so this is answered after the write.
        self.assertEqual((await store.get("key"))[0], b"1")
        self.assertEqual(heard, ["key"])


class FileTests(SynchronousTestCase):
    """What is done about files that are not as they should be."""

    def setUp(self):
        self.path = Path(self.mktemp())

    def store(self):
        return SQLiteStore(InlineReactor(), self.path, make_pool=InlinePool)

    def started(self):
        store = self.store()
        self.successResultOf(store.startService())
        return store

    def refusal(self):
        return str(self.failureResultOf(self.store().startService(), StoreUnusable).value)

    def made(self):
        store = self.started()
        self.successResultOf(store.put("key", b"value"))
        self.successResultOf(store.stopService())

    def test_theFileIsForItsOwnerAlone(self):
        self.started()
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_writesAreSyncedInWriteAheadMode(self):
        store = self.started()
        connection = store._file._connection
        self.assertEqual(connection.execute("PRAGMA journal_mode").fetchone(), ("wal",))
        self.assertEqual(connection.execute("PRAGMA synchronous").fetchone(), (2,))

    def test_whenTheFormatIsNewer_theMessageSaysSoAndTheFileIsLeftAlone(self):
        self.made()
        with sqlite3.connect(self.path) as connection:
            connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
        connection.close()
        message = self.refusal()
        self.assertIn(f"format {FORMAT + 1}", message)
        self.assertIn(str(self.path), message)
        with sqlite3.connect(self.path) as connection:
            self.assertEqual(connection.execute("SELECT count(*) FROM record").fetchone(), (1,))
        connection.close()

    def test_whenItIsAnotherProgramsFile_itIsRefused(self):
        with sqlite3.connect(self.path) as connection:
            connection.execute("CREATE TABLE theirs (x)")
        connection.close()
        before = self.path.read_bytes()
        self.assertIn("another program", self.refusal())
        self.assertEqual(self.path.read_bytes(), before)

    def test_whenItIsNoDatabase_itIsRefused(self):
        self.path.write_bytes(b"This is a letter, not a database. " * 100)
        message = self.refusal()
        self.assertIn(str(self.path), message)
        self.assertIn("not a database", message)
        self.assertIn("move it away", message)

    def test_whenAPageIsDamaged_itIsRefused(self):
        store = self.started()
        for i in range(200):
            self.successResultOf(store.put(f"key/{i}", b"x" * 500))
        self.successResultOf(store.stopService())
        content = bytearray(self.path.read_bytes())
        content[4096 * 3 : 4096 * 6] = b"\xff" * (4096 * 3)
        self.path.write_bytes(content)
        self.assertIn("damaged", self.refusal())

    def test_whenItIsADirectory_itIsRefused(self):
        self.path.mkdir()
        self.assertIn("cannot be opened", self.refusal())

    def test_whenTheDirectoryIsMissing_itIsRefused(self):
        self.path = self.path / "waiter.db"
        message = self.refusal()
        self.assertIn("No such file or directory", message)
        self.assertNotIn("damaged", message)

    def test_whenTheMakingWasInterrupted_itIsMadeAgain(self):
        self.path.touch()
        store = self.started()
        self.successResultOf(store.put("key", b"1"))

    def test_whenTheDiskFails_theCallerIsToldAndNothingIsHalfWritten(self):
        self.made()
        store = self.started()
        heard = []
        store.watch("", heard.append)
        store._file._connection.execute("PRAGMA max_page_count = 1")
        failure = self.failureResultOf(store.put("key", b"x" * 1000000), StoreUnusable)
        self.assertIn("full", str(failure.value))
        self.assertEqual(self.successResultOf(store.get("key"))[0], b"value")
        self.assertEqual(heard, [])
        store._file._connection.execute("PRAGMA max_page_count = 1000000")
        self.successResultOf(store.put("key", b"x" * 1000000))

    def test_whenAnotherConnectionWroteMeanwhile_theVersionIsChecked(self):
        self.made()
        store, other = self.started(), self.started()
        _, version = self.successResultOf(store.get("key"))
        self.successResultOf(other.put("key", b"theirs", version))
        self.failureResultOf(store.put("key", b"ours", version), Conflict)


class KilledWriterTests(SynchronousTestCase):
    """A writer that is killed without warning."""

    def test_whenKilled_noAcknowledgedWriteIsLostAndNoneIsTorn(self):
        path = Path(self.mktemp()).absolute()
        acknowledged = 0
        for after in (1, 7, 40, 3, 90):
            writer = subprocess.Popen(
                [sys.executable, "-m", "tests.catalog.store_writer", str(path), str(acknowledged)],
                stdout=subprocess.PIPE,
                cwd=Path(__file__).parent.parent.parent,
            )
            self.addCleanup(writer.wait)
            self.addCleanup(writer.stdout.close)
            for _ in range(after):
                acknowledged = int(writer.stdout.readline())
            writer.kill()
            for line in writer.stdout.read().splitlines():
                acknowledged = int(line)
            writer.wait()
            self.assertEqual(writer.returncode, -9)
            self.check(path, acknowledged)

    def check(self, path, acknowledged):
        store = SQLiteStore(InlineReactor(), path, make_pool=InlinePool)
        self.successResultOf(store.startService())
        numbers = [int(key.removeprefix("key/")) for key in self.successResultOf(store.keys("key/"))]
        # The write under way when it died may have happened.
        self.assertIn(sorted(numbers), [list(range(1, last + 1)) for last in (acknowledged, acknowledged + 1)])
        for number in numbers:
            value, _ = self.successResultOf(store.get(f"key/{number}"))
            self.assertEqual(value, b"%d" % number * 1000)
        self.successResultOf(store.stopService())
