from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.endpoints import quoteStringArgument
from twisted.trial.unittest import SynchronousTestCase

from waiter.router.endpoint import (
    BACKLOG,
    OtherEndpoint,
    SystemdEndpoint,
    TCPEndpoint,
    TLSEndpoint,
    UNIXEndpoint,
    is_loopback,
    parse_endpoint,
)


class ParseEndpointTests(SynchronousTestCase):
    def test_tcp(self):
        for text, port, interface, backlog in (
            ("tcp:9091", 9091, "0.0.0.0", BACKLOG),
            ("tcp:port=9091", 9091, "0.0.0.0", BACKLOG),
            ("TCP:9091:127.0.0.1:50", 9091, "127.0.0.1", 50),
            ("tcp:0:backlog=7:interface=\\:\\:1", 0, "::1", 7),
            ("tcp6:80", 80, "::", BACKLOG),
            ("tcp6:80:7:\\:\\:1", 80, "::1", 7),
        ):
            self.assertEqual(
                parse_endpoint(text), TCPEndpoint(text=text, port=port, interface=interface, backlog=backlog)
            )

    def test_unix(self):
        for text, path, mode in (
            ("unix:/run/waiter.sock", "/run/waiter.sock", 0o666),
            ("unix:address=/a\\:b:mode=600:lockfile=0", "/a:b", 0o600),
            ("unix:\0hidden", "\0hidden", 0o666),
        ):
            self.assertEqual(parse_endpoint(text), UNIXEndpoint(text=text, path=path, mode=mode))

    def test_systemd(self):
        text = "systemd:domain=INET6:index=2"
        self.assertEqual(parse_endpoint(text), SystemdEndpoint(text=text, domain="INET6", index=2))
        text = "systemd:UNIX:name=my-entrypoint"
        self.assertEqual(parse_endpoint(text), SystemdEndpoint(text=text, domain="UNIX", name="my-entrypoint"))

    def test_ssl(self):
        for text, port, interface, files in (
            ("ssl:443:privateKey=key.pem", 443, "0.0.0.0", ("key.pem", "key.pem", None)),
            ("ssl:443:interface=127.0.0.1", 443, "127.0.0.1", ("server.pem", "server.pem", None)),
            ("ssl:0:k.pem:c.pem:extraCertChain=more.pem", 0, "0.0.0.0", ("k.pem", "c.pem", "more.pem")),
        ):
            private_key, certificate, chain = files
            tcp = TCPEndpoint(text=text, port=port, interface=interface)
            self.assertEqual(
                parse_endpoint(text),
                TLSEndpoint(text=text, tcp=tcp, private_key=private_key, certificate=certificate, chain=chain),
            )

    def test_tls(self):
        for text, port, interface, backlog in (
            ("tls:/certificates", 443, "::", BACKLOG),
            ("tls:/certificates:8443:50:127.0.0.1", 8443, "127.0.0.1", 50),
            ("tls:path=/certificates:port=0:interface=\\:\\:1", 0, "::1", BACKLOG),
        ):
            tcp = TCPEndpoint(text=text, port=port, interface=interface, backlog=backlog)
            self.assertEqual(parse_endpoint(text), TLSEndpoint(text=text, tcp=tcp, directory="/certificates"))

    def test_others(self):
        text = "haproxy:tcp:9091:interface=127.0.0.1"
        self.assertEqual(parse_endpoint(text), OtherEndpoint(text=text, kind="haproxy"))

    def test_whatIsWrongIsSaidWithTheEndpointAndAHint(self):
        for text, words in (
            ("tcp", "the port is missing"),
            ("tcp:", "the port must be a number, not ''"),
            ("tcp:http", "the port must be a number, not 'http'"),
            ("tcp:-1", "the port must be a number, not '-1'"),
            ("tcp:70000", "the port must be from 0 to 65535, not 70000"),
            ("tcp:80:interfaces=::1", "no option 'interfaces'; did you mean 'interface'?"),
            ("tcp:80:::1", "too many parts (escape the colons of an IPv6 address: interface=\\:\\:1)"),
            ("tcp:80:port=81", "port is given twice"),
            ("tcp:80:backlog=0", "the backlog must be from 1"),
            ("tcp:80\\", "ends within an escape"),
            ("unix:", "the path of the socket is missing"),
            ("unix:/a:mode=999", "the mode must be a number, not '999'"),
            ("systemd:domain=IPX:index=0", "the domain must be INET, INET6 or UNIX, not 'IPX'"),
            ("systemd:domain=INET", "give either index= or name="),
            ("ssl:privateKey=a.pem", "the port is missing"),
            ("ssl:443:privatekey=a.pem", "no option 'privatekey'; did you mean 'privateKey'?"),
            ("ssl:443:sslmethod=TLSv1_METHOD", "leave sslmethod out"),
            ("tls:port=443", "the directory of the certificates is missing"),
            ("9091", "is no endpoint; write one like tcp:9091:interface=127.0.0.1"),
            ("", "is no endpoint"),
        ):
            problem = self.assertRaises(ValueError, parse_endpoint, text)
            self.assertIn(words, str(problem))
            self.assertIn(text, str(problem))

    @given(st.text(min_size=1))
    def test_whatTwistedQuotesIsUnderstood(self, path):
        self.assertEqual(parse_endpoint(f"unix:address={quoteStringArgument(path)}").path, path)

    @given(st.text())
    def test_anyTextIsUnderstoodOrRefused(self, text):
        try:
            parse_endpoint(text)
        except ValueError as problem:
            self.assertNotEqual(str(problem), "")


class IsLoopbackTests(SynchronousTestCase):
    def test_whatOnlyThisMachineReaches(self):
        for endpoint in (
            "tcp:9091:interface=127.0.0.1",
            "tcp:9091:interface=127.8.9.1",
            "tcp:9091:interface=localhost",
            "tcp:9091:interface=\\:\\:1",
            "tcp6:9091:interface=\\:\\:1",
            "tcp:9091:interface=\\:\\:ffff\\:127.0.0.1",
            "ssl:443:interface=127.0.0.1",
            "tls:/certificates:443:interface=127.0.0.1",
            "unix:/run/waiter.sock",
            "systemd:domain=UNIX:index=0",
        ):
            self.assertTrue(is_loopback(endpoint), endpoint)

    def test_whatOthersReachOrMayReach(self):
        for endpoint in (
            "tcp:9091",
            "tcp:9091:interface=",
            "tcp6:9091",
            "tcp:9091:interface=0.0.0.0",
            "tcp:9091:interface=\\:\\:",
            "tcp:9091:interface=192.168.1.1",
            "tcp:9091:interface=\\:\\:ffff\\:192.168.1.1",
            "tcp:9091:interface=127.0.0.1.example.org",
            "tcp:9091:interface=localhost.example.org",
            "tcp:9091:interface=2130706433",
            "ssl:443",
            "tls:/certificates:443",
            "systemd:domain=INET:index=0",
            "haproxy:tcp:9091:interface=127.0.0.1",
        ):
            self.assertFalse(is_loopback(endpoint), endpoint)

    def test_whatIsNoEndpointIsRefused(self):
        self.assertRaises(ValueError, is_loopback, "9091")
