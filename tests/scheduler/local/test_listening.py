"""Where processes listen, as the kernel tells it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from waiter.scheduler.local.listening import ListeningSocket, listeners_of, parse_listeners

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1129 1 000000008cc3d74d 100 0 0 10 0
   1: 0200007F:37F1 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1130 1 000000008cc3d74d 100 0 0 10 0
   2: 0100007F:4D52 0100007F:8FFA 01 00000000:00000000 03:000012F4 00000000     0        0 1131 3 0000000072b60248
   3: 0100007F:4D52 0100007F:8FFA 06 00000000:00000000 03:000012F4 00000000     0        0 0 3 0000000072b60248
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:37F1 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7001 1 0 100 0 0 10 0
   1: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7002 1 0 100 0 0 10 0
   2: 0000000000000000FFFF00000100007F:0051 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7003 1 0 100 0 0 10 0
   3: B80D0120000000000000000001000000:0052 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7004 1 0 100 0 0 10 0
"""


def at(address, port):
    return ListeningSocket(address=address, port=port)


class ParserTests(SynchronousTestCase):
    def test_listeningSocketsOfIPv4AreFound(self):
        self.assertEqual(parse_listeners(TCP), {1129: at("0.0.0.0", 8000), 1130: at("127.0.0.2", 14321)})

    def test_listeningSocketsOfIPv6AreFound(self):
        self.assertEqual(
            parse_listeners(TCP6),
            {
                7001: at("::1", 14321),
                7002: at("::", 80),
                # A socket of IPv6 that is bound to an address of IPv4.
                7003: at("127.0.0.1", 81),
                7004: at("2001:db8::1", 82),
            },
        )

    if sys.byteorder != "little":
        test_listeningSocketsOfIPv4AreFound.skip = "the tables are of a little-endian machine"
        test_listeningSocketsOfIPv6AreFound.skip = "the tables are of a little-endian machine"

    def test_anEmptyTableHasNone(self):
        self.assertEqual(parse_listeners(""), {})
        self.assertEqual(parse_listeners(TCP.splitlines()[0]), {})

    def test_addressesOfIPv6AreInBrackets(self):
        self.assertEqual([str(at("::1", 5)), str(at("0.0.0.0", 5))], ["[::1] port 5", "0.0.0.0 port 5"])

    def test_onlyTheRightAddressesAreReached(self):
        reached = [
            address for address in ("127.0.0.1", "0.0.0.0", "::", "127.0.0.2", "::1") if at(address, 1).reachable
        ]
        self.assertEqual(reached, ["127.0.0.1", "0.0.0.0", "::"])


class ReaderTests(SynchronousTestCase):
    def listen(self, family, address):
        listener = socket.socket(family)
        self.addCleanup(listener.close)
        try:
            listener.bind((address, 0))
        except OSError as error:
            raise SkipTest(f"{address} cannot be bound here: {error}") from error
        listener.listen()
        return listener

    def test_aListeningSocketIsFound(self):
        listener = self.listen(socket.AF_INET, "127.0.0.2")
        self.assertIn(at("127.0.0.2", listener.getsockname()[1]), listeners_of([os.getpid()]))

    def test_aListeningSocketOfIPv6IsFound(self):
        listener = self.listen(socket.AF_INET6, "::1")
        self.assertIn(at("::1", listener.getsockname()[1]), listeners_of([os.getpid()]))

    def test_theSocketsOfOthersAreNot(self):
        self.listen(socket.AF_INET, "127.0.0.1")
        other = subprocess.Popen(["/bin/sleep", "3600"])
        self.addCleanup(other.wait)
        self.addCleanup(other.kill)
        self.assertEqual(listeners_of([other.pid]), ())

    def test_aConnectedSocketDoesNotListen(self):
        listener = self.listen(socket.AF_INET, "127.0.0.1")
        client = socket.create_connection(listener.getsockname())
        self.addCleanup(client.close)
        self.assertNotIn(client.getsockname()[1], [each.port for each in listeners_of([os.getpid()])])

    def test_aProcessThatHasEndedHasNone(self):
        ended = subprocess.Popen(["/bin/true"])
        ended.wait()
        self.assertFalse(Path(f"/proc/{ended.pid}").exists())
        self.assertEqual(listeners_of([ended.pid]), ())
