"""L{waiter.fleet.own_address}."""

from twisted.trial.unittest import SynchronousTestCase

from waiter.fleet.own_address import ipv4_addresses, own_address
from waiter.router.endpoint import parse_endpoint, tcp_of


class OwnAddressTests(SynchronousTestCase):
    def of(self, *endpoints, addresses=("127.0.0.1", "10.1.2.3", "10.9.9.9")):
        return own_address([tcp_of(parse_endpoint(endpoint)) for endpoint in endpoints], addresses=lambda: addresses)

    def test_itIsTheInterfaceOfTheFirstTCPEndpoint(self):
        self.assertEqual(self.of("unix:/a", "tcp:9091:interface=10.0.0.7", "tcp:9092:interface=10.0.0.8"), "10.0.0.7")
        self.assertEqual(self.of("tcp:9091:interface=localhost"), "127.0.0.1")

    def test_whenThatIsAllOfThem_itIsAnAddressOfThisMachine(self):
        self.assertEqual(self.of("tcp:9091"), "10.1.2.3")
        self.assertEqual(self.of("tcp6:9091"), "10.1.2.3")

    def test_whenThereIsNone_whatToDoIsSaid(self):
        for endpoints, addresses, words in (
            (["unix:/a"], (), "UNIX socket"),
            (["tcp:0:interface=127.0.0.1"], (), "the port"),
            (["tcp:9091"], ("127.0.0.1",), "no IPv4 address but loopback"),
        ):
            with self.assertRaisesRegex(ValueError, words):
                self.of(*endpoints, addresses=addresses)

    def test_thisMachineHasLoopback(self):
        self.assertIn("127.0.0.1", ipv4_addresses())
