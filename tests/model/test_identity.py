"""L{waiter.model.identity}."""

from urllib.parse import urlsplit

from twisted.trial.unittest import SynchronousTestCase

from waiter.model.identity import Identity


def identity(*hostnames, port=9091):
    return Identity(router_id="r", cluster="c", version="1", hostnames=hostnames, port=port, started_at=0.0)


class URLTests(SynchronousTestCase):
    def test_theFirstHostNameIsInTheURL(self):
        self.assertEqual(identity("waiter.example", "localhost").url, "http://waiter.example:9091")

    def test_anIPv6AddressIsInBrackets(self):
        for name in ("fd00::1", "[fd00::1]"):
            url = identity(name).url
            self.assertEqual(url, "http://[fd00::1]:9091")
            self.assertEqual((urlsplit(url).hostname, urlsplit(url).port), ("fd00::1", 9091))

    def test_withoutAPortThereIsNoneInTheURL(self):
        self.assertEqual(identity("localhost", port=0).url, "http://localhost")
