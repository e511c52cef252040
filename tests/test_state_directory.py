"""Tests for L{waiter.state_directory}."""

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from waiter.state_directory import StateDirectory, StateDirectoryError


class StateDirectoryTests(SynchronousTestCase):
    def setUp(self):
        self.path = Path(self.mktemp()) / "deep" / "state"

    def opened(self, *, passable=None):
        directory = StateDirectory(self.path, passable=passable)
        directory.open()
        self.addCleanup(directory.close)
        return directory

    def test_makesWhatIsMissing(self):
        directory = self.opened()
        self.assertEqual({entry.name for entry in self.path.iterdir()}, {"lock", "format", "secret", "services"})
        self.assertEqual(len(directory.secret()), 32)
        self.assertEqual((self.path / "secret").stat().st_mode & 0o777, 0o600)

    def modes(self):
        paths = (self.path.parent, self.path, *self.path.iterdir())
        return {path.name: f"{path.stat().st_mode & 0o777:o}" for path in paths}

    def test_nobodyElseGetsIn(self):
        self.opened(passable=False)
        self.assertEqual(
            self.modes(),
            {"deep": "700", "state": "700", "lock": "600", "format": "600", "secret": "600", "services": "700"},
        )

    def test_othersMayPassButSeeNothingWhereInstancesRunAsThem(self):
        before = os.umask(0o077)
        self.addCleanup(os.umask, before)
        self.opened(passable=True)
        self.assertEqual(
            self.modes(),
            {"deep": "711", "state": "711", "lock": "600", "format": "600", "secret": "600", "services": "711"},
        )

    def test_whatOthersCouldReadIsHiddenBeforeTheyMayPass(self):
        self.path.mkdir(parents=True, mode=0o700)
        (self.path / "waiter.db").touch(mode=0o644)
        (self.path / "twistd.log").touch(mode=0o666)
        self.opened(passable=True)
        self.assertEqual({self.modes()[name] for name in ("waiter.db", "twistd.log")}, {"600"})

    def test_secretStays(self):
        directory = self.opened()
        secret = directory.secret()
        directory.close()
        self.assertEqual(self.opened().secret(), secret)

    def test_secondServerIsRefusedAndToldByWhom(self):
        self.opened()
        error = self.assertRaises(StateDirectoryError, StateDirectory(self.path).open)
        self.assertIn(f"process {os.getpid()}", str(error))
        self.assertIn("--state-dir", str(error))

    def test_canBeTakenAfterTheFirstIsGone(self):
        self.opened().stopService()
        self.opened()

    def test_newerFormatIsRefusedAndUntouched(self):
        self.opened().close()
        (self.path / "format").write_text("99\n")
        error = self.assertRaises(StateDirectoryError, StateDirectory(self.path).open)
        self.assertIn("format 99", str(error))
        self.assertEqual((self.path / "format").read_text(), "99\n")
        (self.path / "format").write_text("1\n")
        self.opened()

    def test_formatThatIsNoTextIsRefused(self):
        self.opened().close()
        (self.path / "format").write_bytes(b"\xff\n")
        error = self.assertRaises(StateDirectoryError, StateDirectory(self.path).open)
        self.assertIn("has format", str(error))

    def test_secretThatCanBeGuessedIsRefusedAndUntouched(self):
        self.opened().close()
        (self.path / "secret").write_bytes(b"")
        error = self.assertRaises(StateDirectoryError, StateDirectory(self.path).open)
        self.assertIn("secret has 0 bytes", str(error))
        self.assertEqual((self.path / "secret").read_bytes(), b"")
        # Nothing is held by the one that was refused.
        (self.path / "secret").unlink()
        self.opened()

    def test_unusablePath(self):
        self.path.parent.mkdir(parents=True)
        self.path.write_text("a file")
        error = self.assertRaises(StateDirectoryError, StateDirectory(self.path).open)
        self.assertIn(str(self.path), str(error))

    def test_secretIsUnreadableWhileClosed(self):
        self.assertRaises(StateDirectoryError, StateDirectory(self.path).secret)
