"""Ports are reserved machine-wide, by locks that live as long as the instances that use them."""

import errno
import os
import socket
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from waiter.scheduler.local import ports
from waiter.scheduler.local.ports import OutOfPorts, PortPool, lock_directory, port_is_free, port_is_used


class PortPoolTests(SynchronousTestCase):
    def setUp(self):
        self.directory = Path(self.mktemp())
        self.now = 1000.0
        self.busy = set()

    def pool(self, first=20, last=29, rest_secs=120.0):
        return PortPool(
            self.directory,
            (first, last),
            wall=lambda: self.now,
            rest_secs=rest_secs,
            is_free=lambda port: port not in self.busy,
            is_used=self.busy.__contains__,
        )

    def take(self, pool, count=1):
        lease = pool.take(count)
        self.addCleanup(lambda: [os.close(lock) for lock in lease.locks])
        return lease

    def test_portsAreOfTheRangeAndDifferent(self):
        pool = self.pool()
        taken = [port for _ in range(5) for port in self.take(pool, 2).ports]
        self.assertEqual(sorted(taken), list(range(20, 30)))
        self.assertRaises(OutOfPorts, pool.take, 1)

    def test_aTakeThatFailsKeepsNothing(self):
        pool = self.pool(20, 21)
        self.assertRaises(OutOfPorts, pool.take, 3)
        self.assertEqual(len(self.take(pool, 2).ports), 2)

    def test_aMachineThatLacksDescriptorsIsNotCalledOneWithoutPorts(self):
        tried = []

        def lack(port):
            tried.append(port)
            if len(tried) > 1:
                raise OSError(errno.EMFILE, "Too many open files")
            return True

        pool = PortPool(self.directory, (20, 29), wall=lambda: self.now, is_free=lack, is_used=lack)
        before = len(list(Path("/proc/self/fd").iterdir()))
        error = self.assertRaises(OSError, pool.take, 2)
        self.assertEqual((error.errno, len(tried)), (errno.EMFILE, 2))
        self.assertEqual(len(list(Path("/proc/self/fd").iterdir())), before)
        self.assertIsNone(pool.in_use([20]))

    def test_aMachineThatCannotOpenALockIsNotCalledOneWithoutPorts(self):
        pool = self.pool()

        def refuse(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(ports, "_open", refuse)
        self.assertEqual(self.assertRaises(OSError, pool.take, 1).errno, errno.ENOSPC)
        pool.give_back(pool.adopt([20]))

    def test_twoServersNeverHaveTheSamePort(self):
        one, other = self.pool(), self.pool()
        taken = [*self.take(one, 5).ports, *self.take(other, 5).ports]
        self.assertEqual(len(set(taken)), 10)
        self.assertRaises(OutOfPorts, other.take, 1)

    def test_aPortRestsAfterItsUseAtEveryServer(self):
        one, other = self.pool(20, 20), self.pool(20, 20)
        one.give_back(one.take(1))
        self.now += 119
        self.assertRaises(OutOfPorts, one.take, 1)
        self.assertRaises(OutOfPorts, other.take, 1)
        self.now += 1
        self.assertEqual(self.take(other).ports, (20,))

    def test_aClockThatWasSetBackDoesNotBlockAPortForLong(self):
        pool = self.pool(20, 20)
        pool.give_back(pool.take(1))
        self.now -= 500
        self.assertEqual(self.take(pool).ports, (20,))

    def test_aPortThatSomebodyElseUsesIsLeftOut(self):
        self.busy = set(range(20, 29))
        self.assertEqual(self.take(self.pool()).ports, (29,))

    def test_theLockLivesAsLongAsTheInstanceThatInheritedIt(self):
        pool, other = self.pool(20, 20), self.pool(20, 20)
        lease = pool.take(1)
        instance = subprocess.Popen(["/bin/sleep", "3600"], pass_fds=lease.locks)
        self.addCleanup(instance.wait)
        self.addCleanup(instance.kill)
        # The server dies.
        pool.abandon(lease)
        self.assertRaises(OutOfPorts, other.take, 1)
        instance.kill()
        instance.wait()
        self.assertEqual(self.take(other).ports, (20,))

    def test_anAdoptedPortIsHeldUntilItIsGivenBackAndThenRests(self):
        pool = self.pool(20, 20)
        lease = pool.adopt([20])
        self.assertRaises(OutOfPorts, pool.take, 1)
        pool.give_back(lease)
        self.assertRaises(OutOfPorts, pool.take, 1)
        self.now += 120
        self.assertEqual(self.take(pool).ports, (20,))

    def test_aLockFileThatWasDeletedIsNotHeldForTheNewOne(self):
        one, other = self.pool(20, 20), self.pool(20, 20)
        self.take(one)
        (self.directory / "20").unlink()
        self.assertEqual(self.take(other).ports, (20,))

    def test_whatIsNotALockFileIsLeftOut(self):
        self.directory.mkdir()
        victim = self.directory / "victim"
        victim.write_text("precious")
        (self.directory / "20").symlink_to(victim)
        (self.directory / "21").mkdir()
        os.mkfifo(self.directory / "22")
        pool = self.pool(20, 23)
        while True:
            try:
                pool.give_back(pool.take(1))
            except OutOfPorts:
                break
        self.assertEqual(victim.read_text(), "precious")

    def test_noFileIsMadeWhereALinkInPlaceOfTheDirectoryLeads(self):
        elsewhere = Path(self.mktemp())
        elsewhere.mkdir()
        self.directory.symlink_to(elsewhere.absolute())
        error = self.assertRaises(NotADirectoryError, self.pool().take, 1)
        self.assertIn(f"{self.directory}, where ports are locked", error.strerror)
        self.pool().give_back(self.pool().adopt((20,)))
        self.assertEqual(list(elsewhere.iterdir()), [])

    def test_nonsenseInALockFileDoesNotMatter(self):
        self.directory.mkdir()
        (self.directory / "20").write_bytes(b"\xff\x00 nonsense" * 100)
        self.assertEqual(self.take(self.pool(20, 20)).ports, (20,))

    def test_theLocksAreForEverybody(self):
        before = os.umask(0o077)
        self.addCleanup(os.umask, before)
        self.take(self.pool(20, 20))
        self.assertEqual(self.directory.stat().st_mode & 0o7777, 0o1777)
        self.assertEqual((self.directory / "20").stat().st_mode & 0o777, 0o666)

    def test_theFirstUsedOneOfThePortsIsFound(self):
        self.busy = {22, 23}
        self.assertEqual(self.pool().in_use((21, 22, 23)), 22)
        self.assertIsNone(self.pool().in_use((21,)))

    def test_theDirectoryOfTheLocksIsOutsideOfAnyServersState(self):
        self.assertTrue(lock_directory().is_absolute())


class BindingTests(SynchronousTestCase):
    def test_aListenerOnAnyAddressUsesItsPort(self):
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::1")):
            try:
                listener = socket.create_server((address, 0), family=family)
            except OSError:
                # There is no IPv6 here.
                continue
            port = listener.getsockname()[1]
            self.assertEqual((port_is_free(port), port_is_used(port)), (False, True), address)
            listener.close()
            self.assertEqual((port_is_free(port), port_is_used(port)), (True, False), address)

    def test_aConnectionThatLingersMakesAPortNeitherFreeNorUsed(self):
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        server, _ = listener.accept()
        # Who closes first lingers.
        server.close()
        client.close()
        listener.close()
        self.assertEqual((port_is_free(port), port_is_used(port)), (False, False))
