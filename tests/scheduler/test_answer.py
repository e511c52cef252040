"""What is read of an instance's answer to a health check."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.scheduler.answer import Answer, printable


def read(*pieces):
    answer = Answer()
    for piece in pieces:
        answer.feed(piece)
    return answer


class AnswerTests(SynchronousTestCase):
    def test_itHasAStatusWhenTheHeadIsThere(self):
        head = b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\n"
        self.assertIsNone(read(head[:-1]).status)
        answer = read(head)
        self.assertEqual((answer.status, answer.complete, answer.enough, answer.start), (404, False, False, None))
        answer = read(head, b"no", b"!")
        self.assertEqual((answer.status, answer.complete, answer.enough, answer.start), (404, True, True, "no!"))

    def test_interimAnswersAreSkipped(self):
        answer = read(b"HTTP/1.1 100 Go\r\n\r\n", b"HTTP/1.1 103 Hints\r\nContent-Encoding: gzip\r\n\r\n")
        self.assertIsNone(answer.status)
        answer.feed(b"HTTP/1.1 500 No\r\nContent-Length: 1\r\n\r\nx")
        self.assertEqual((answer.status, answer.start), (500, "x"))

    def test_aSwitchOfProtocolsIsTheAnswer(self):
        answer = read(b"HTTP/1.1 101 So\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n\x01\x02")
        self.assertEqual((answer.status, answer.complete, answer.problem), (101, True, None))

    def test_aChunkedBodyIsShownWithoutItsChunks(self):
        answer = read(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n4\r\n two\r\n0\r\n\r\n")
        self.assertEqual((answer.complete, answer.start), (True, "one two"))

    def test_aBodyThatBreaksItsOwnFramingEndsThere(self):
        answer = read(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\nnonsense\r\n")
        self.assertEqual((answer.status, answer.complete, answer.problem, answer.start), (500, True, None, "one"))

    def test_whatFollowsTheAnswerIsIgnored(self):
        first = b"HTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\n1"
        answer = read(first + b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\n2", b"rest")
        self.assertEqual((answer.status, answer.start), (404, "1"))

    def test_anEncodedBodyIsNotShown(self):
        answer = read(b"HTTP/1.1 404 No\r\ncontent-ENCODING: br\r\n\r\n", b"something")
        self.assertEqual((answer.start, answer.enough), (None, True))
        answer = read(b"HTTP/1.1 404 No\r\nContent-Encoding: identity\r\n\r\n", b"something")
        self.assertEqual(answer.start, "something")

    def test_whatIsNotHTTPIsShownItself(self):
        answer = read(b"220 mail.example", b".org\r\n")
        self.assertIsNotNone(answer.problem)
        self.assertEqual((answer.status, answer.complete), (None, True))
        self.assertEqual(answer.start, "220 mail.example")

    def test_aHeadWithoutEndIsNoAnswer(self):
        for start, piece in (
            (b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n"),
            (b"HTTP/1.1 200 OK\r\nX-More: ", b"and more"),
            (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ):
            answer = read(start)
            for _ in range(100000):
                if answer.complete:
                    break
                answer.feed(piece)
            self.assertEqual((answer.status, answer.problem), (None, "no head within 64 KiB"))

    def test_aHeadMayComeWithABodyOfAnyLength(self):
        self.assertEqual(read(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1000000).problem, None)

    def test_onlyTheStartOfABodyIsKept(self):
        answer = read(b"HTTP/1.1 404 No\r\n\r\n")
        answer.feed(b"x" * 799)
        self.assertFalse(answer.enough)
        answer.feed(b"x" * 1000000)
        self.assertEqual((answer.enough, answer.complete, answer.start), (True, False, "x" * 200))

    @given(st.lists(st.binary(max_size=40), max_size=20), st.sampled_from([b"", b"HTTP/1.1 404 No\r\n", b"HTTP/1.1 "]))
    def test_noBytesUpsetIt(self, pieces, start):
        answer = read(start, *pieces)
        self.assertTrue(answer.problem is None or answer.status is None)
        self.assertTrue(answer.start is None or (0 < len(answer.start) <= 200 and answer.start.isprintable()))

    @given(st.text(max_size=50), st.integers(1, 60))
    def test_howTheBytesAreCutMakesNoDifference(self, body, size):
        data = body.encode("utf-8", "replace")
        whole = b"HTTP/1.1 404 No\r\nX: y\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data)
        answer = read(*(whole[at : at + size] for at in range(0, len(whole), size)))
        self.assertEqual((answer.status, answer.complete, answer.start), (404, True, printable(data)))


class PrintableTests(SynchronousTestCase):
    def test_whitespaceIsCollapsedAndTheRestReplaced(self):
        self.assertEqual(printable(b"<h1>\r\n\t Not   here</h1>\n"), "<h1> Not here</h1>")
        self.assertEqual(printable(b"a\0b\x1b[31m\xff\xe2\x80\xae"), "a\ufffdb\ufffd[31m\ufffd\ufffd")
        self.assertEqual(printable("Grüße".encode()), "Grüße")

    def test_nothingIsNone(self):
        self.assertIsNone(printable(b" \r\n"))
        self.assertIsNone(printable(b""))
