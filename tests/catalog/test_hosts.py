"""L{waiter.catalog.hosts}."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.catalog.hosts import Authority, authority, is_blank, is_same_origin, own_hosts


class AuthorityTests(SynchronousTestCase):
    def test_hostAndPort(self):
        for header, host, port in [
            (b"localhost", "localhost", None),
            (b"LocalHost:9091", "localhost", 9091),
            (b"localhost:", "localhost", None),
            (b"127.0.0.1:80", "127.0.0.1", 80),
            (b" my-app_1.example.com. ", "my-app_1.example.com", None),
            (b"[::1]", "::1", None),
            (b"[::1]:9091", "::1", 9091),
            (b"[0:0:0:0:0:0:0:1]:9091", "::1", 9091),
            (b"[FE80::ABCD]", "fe80::abcd", None),
            (b"a$b:1", "a$b", 1),
        ]:
            self.assertEqual(authority(header), Authority(host, port), header)

    def test_whatNamesNoHost(self):
        for header in (
            b"",
            b" ",
            b":9091",
            b"a b",
            b"a:b",
            b"a:1:2",
            b"::1",
            b"[::1",
            b"[::1]x",
            b"[1.2.3.4]",
            b"[::1%eth0]",
            b"user@localhost",
            b"localhost/",
            b"localhost#",
            b"localhost,localhost",
            b"http://localhost",
            b"localhost:99999",
            b"localhost:123456",
            b"localhost:-1",
            "löcalhost".encode(),
            b"local\x00host",
            b"a\r\nb",
            b"a" * 300,
        ):
            self.assertIsNone(authority(header), header)

    def test_onlyNothingIsBlank(self):
        self.assertTrue(is_blank(b""))
        self.assertTrue(is_blank(b" \t"))
        self.assertFalse(is_blank(b":80"))

    @given(st.binary(max_size=40))
    def test_whateverIsSent_aHostIsInLowerCaseOrNone(self, header):
        named = authority(header)
        if named is not None:
            self.assertEqual(named.host, named.host.lower())
            self.assertTrue(named.host.isascii())


class OwnHostsTests(SynchronousTestCase):
    def test_loopbackIsAlwaysOwn(self):
        self.assertEqual(own_hosts(), {"localhost", "127.0.0.1", "::1"})

    def test_namesAreMadeComparable(self):
        names = ["Big.Example.COM.", "fe80::1", "[::2]", "10.0.0.7", "waiter"]
        self.assertEqual(own_hosts(names) - own_hosts(), {"big.example.com", "fe80::1", "::2", "10.0.0.7", "waiter"})

    def test_whatIsNoNameIsRefused(self):
        # A port would come twice into the URLs that are made of the name.
        for name in ("", "a b", "http://a", "ü", "waiter:9091", "[::2]:9091"):
            self.assertRaises(ValueError, own_hosts, [name])


class SameOriginTests(SynchronousTestCase):
    def test_theSame(self):
        for origin, host in [
            (b"http://localhost:9091", b"localhost:9091"),
            (b"http://LOCALHOST:9091", b"localhost:9091"),
            (b"http://waiter.example", b"waiter.example"),
            (b"http://waiter.example", b"waiter.example:80"),
            (b"https://waiter.example", b"waiter.example"),
            (b"https://waiter.example:443", b"waiter.example"),
            (b"http://[::1]:9091", b"[::1]:9091"),
        ]:
            self.assertTrue(is_same_origin(origin, host), (origin, host))

    def test_another(self):
        for origin, host in [
            (b"null", b"localhost:9091"),
            (b"", b"localhost:9091"),
            (b"http://localhost:3000", b"localhost:9091"),
            (b"http://localhost", b"localhost:9091"),
            (b"http://127.0.0.1:9091", b"localhost:9091"),
            (b"http://evil.example:9091", b"localhost:9091"),
            (b"http://localhost:9091.evil.example", b"localhost:9091"),
            (b"http://localhost:9091@evil.example", b"localhost:9091"),
            (b"http://localhost:9091/", b"localhost:9091"),
            (b"http://localhost:9091 http://localhost:9091", b"localhost:9091"),
            (b"https://waiter.example", b"waiter.example:80"),
            (b"file://", b""),
            (b"chrome-extension://localhost:9091", b"localhost:9091"),
            (b"localhost:9091", b"localhost:9091"),
            (b"http://localhost:9091", b""),
        ]:
            self.assertFalse(is_same_origin(origin, host), (origin, host))
