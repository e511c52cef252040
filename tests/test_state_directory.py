"""Tests for L{waiter.state_directory}."""

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from waiter.state_directory import StateDirectory, StateDirectoryError


class StateDirectoryTests(SynchronousTestCase):
    def setUp(self):
        self.path = Path(self.mktemp()) / "deep" / "state"

    def opened(self):
        directory = StateDirectory(self.path)
        directory.open()
        self.addCleanup(directory.close)
        return directory

    def test_makesWhatIsMissing(self):
        directory = self.opened()
        self.assertEqual({entry.name for entry in self.path.iterdir()}, {"lock", "format", "secret", "services"})
        self.assertEqual(len(directory.secret()), 32)
        self.assertEqual((self.path / "secret").stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o700)

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
