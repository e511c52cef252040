"""Lines of requests that are understood without the rest."""

from twisted.trial.unittest import SynchronousTestCase

from waiter.router.first_lines import FirstLines


class FirstLinesTests(SynchronousTestCase):
    def test_methodAndTarget(self):
        """The same each time, be the line new or not."""
        lines = FirstLines()
        for line, parts in (
            (b"GET / HTTP/1.1", (b"GET", b"/")),
            (b"POST /a?b=c HTTP/1.1", (b"POST", b"/a?b=c")),
        ):
            for _ in range(3):
                self.assertEqual(lines.read(line), parts)

    def test_linesThatTakeMore(self):
        """To be read or to be refused. None of them spoils the next one."""
        lines = FirstLines()
        for line in (
            b"FOO / HTTP/1.1",
            b"CONNECT a:1 HTTP/1.1",
            b"SOURCE / HTTP/1.1",
            b"GET /a b HTTP/1.1",
            b"GET /#a HTTP/1.1",
            b"GET http://a/ HTTP/1.1",
            b"OPTIONS * HTTP/1.1",
            b"GET /  HTTP/1.1",
            b"GET / HTTP/1.0",
            b"GET / HTTP/1.1 ",
            b"GET HTTP/1.1",
            b" HTTP/1.1",
            b"GET /\xc3\xa4 HTTP/1.1",
            b"GET /\n HTTP/1.1",
            b"GET /\0 HTTP/1.1",
            b"",
            b"\nGET / HTTP/1.1",
            b"\rGET / HTTP/1.1",
            b"PRI * HTTP/2.0",
        ):
            for _ in range(2):
                self.assertIsNone(lines.read(line), line)
                self.assertEqual(lines.read(b"GET / HTTP/1.1"), (b"GET", b"/"))

    def test_memoryIsBounded(self):
        lines = FirstLines(most=10)
        for number in range(100):
            target = b"/%d" % number
            self.assertEqual(lines.read(b"GET %b HTTP/1.1" % target), (b"GET", target))
            self.assertLessEqual(len(lines._known), 10)
        lines = FirstLines()
        target = b"/" + b"x" * 1000
        self.assertEqual(lines.read(b"GET %b HTTP/1.1" % target), (b"GET", target))
        self.assertEqual(lines._known, {})
