"""What a log is sent as while it is followed."""

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.admin import log_frames
from waiter.admin.log_frames import Events, PlainText, last_lines_at

MANY_PIECES = st.lists(st.lists(st.sampled_from([b"a", b"\n", b"\r", "\u20ac".encode(), b"\xff"])).map(b"".join))


def received(stream):
    """What a browser makes of a stream: the type, id and data of each event, as the standard says."""
    events, last_id = [], ""
    for block in re.split(r"(?<=\n)\n", stream.decode()):
        fields = [line.partition(":")[::2] for line in re.split("\r\n|\r|\n", block) if line and line[0] != ":"]
        named = [(name, value.removeprefix(" ")) for name, value in fields]
        last_id = dict(named).get("id", last_id)
        data = [value for name, value in named if name == "data"]
        if data:
            events.append((dict(named).get("event", "message"), last_id, "\n".join(data)))
    return events


class PlainTextTests(SynchronousTestCase):
    def test_itIsTheBytesThemselves(self):
        plain = PlainText()
        self.assertEqual((plain.begin(), plain.feed(5, b"a\nb"), plain.idle(), plain.end()), (b"", b"a\nb", b"", b""))

    def test_aGapCannotBeSaid(self):
        self.assertIsNone(PlainText().skipped(3))


class EventsTests(SynchronousTestCase):
    def test_eachLineIsAnEventWhoseIdIsTheOffsetAfterIt(self):
        events = Events()
        stream = events.begin() + events.feed(100, b"one\ntwo\r\nth") + events.feed(111, b"ree\n\n")
        self.assertEqual(
            received(stream),
            [
                ("message", "104", "one"),
                ("message", "109", "two"),
                ("message", "115", "three"),
                ("message", "116", ""),
            ],
        )

    def test_anUnfinishedLineComesWithTheEnd(self):
        events = Events()
        self.assertEqual(events.feed(0, b"half"), b"")
        self.assertEqual(received(events.end()), [("message", "4", "half"), ("end", "4", "")])

    def test_whatWasNotKeptIsSaid(self):
        events = Events()
        stream = events.feed(0, b"half") + events.skipped(96) + events.feed(100, b"x\n")
        self.assertEqual(received(stream), [("message", "4", "half"), ("skipped", "4", "96"), ("message", "102", "x")])

    def test_whenTheFileWasEmptied_theOldLineDoesNotGoOnInTheNew(self):
        events = Events()
        stream = events.feed(0, b"half") + events.feed(0, b"new\n")
        self.assertEqual(received(stream), [("message", "4", "half"), ("message", "4", "new")])

    def test_aCarriageReturnIsALineOfTheSameEvent(self):
        self.assertEqual(received(Events().feed(0, b"10%\r20%\n")), [("message", "8", "10%\n20%")])

    def test_aVeryLongLineIsSeveralEvents(self):
        self.patch(log_frames, "MOST_LINE_BYTES", 10)
        for pieces in ([b"x" * 25, b"y\nz\n"], [b"x" * 25 + b"y\nz\n"]):
            events = Events()
            stream, offset = b"", 0
            for piece in pieces:
                stream += events.feed(offset, piece)
                offset += len(piece)
            self.assertEqual(
                received(stream),
                [
                    ("message", "10", "x" * 10),
                    ("message", "20", "x" * 10),
                    ("message", "27", "xxxxxy"),
                    ("message", "29", "z"),
                ],
            )

    def test_noCharacterIsCutInALongLine(self):
        self.patch(log_frames, "MOST_LINE_BYTES", 10)
        stream = Events().feed(0, "\u20ac".encode() * 7 + b"\n")
        self.assertEqual([data for _, _, data in received(stream)], ["\u20ac" * 3, "\u20ac" * 3, "\u20ac"])

    @given(MANY_PIECES)
    def test_howItIsReadDoesNotMatter(self, pieces):
        content = b"".join(pieces)
        events, offset, stream = Events(), 0, b""
        for piece in pieces:
            stream += events.feed(offset, piece)
            offset += len(piece)
        whole = Events()
        self.assertEqual(stream + events.end(), whole.feed(0, content) + whole.end())

    @given(MANY_PIECES)
    def test_whoGoesOnAtAnIdMissesNothingAndGetsNothingTwice(self, pieces):
        content = b"".join(pieces)
        whole = Events()
        first = received(whole.feed(0, content) + whole.end())
        for number, (_, last_id, _) in enumerate(first[:-1]):
            again = Events()
            rest = again.feed(int(last_id), content[int(last_id) :]) + again.end()
            self.assertEqual(received(rest), first[number + 1 :])


class LastLinesTests(SynchronousTestCase):
    def test_anUnfinishedLineCounts(self):
        for data, count, rest in [
            (b"a\nb\nc\n", 2, b"b\nc\n"),
            (b"a\nb\nc", 2, b"b\nc"),
            (b"a\n", 1, b"a\n"),
            (b"a\nb", 5, b"a\nb"),
            (b"a\nb\n", 0, b""),
            (b"\n\n", 1, b"\n"),
            (b"", 3, b""),
        ]:
            self.assertEqual(data[last_lines_at(data, count) :], rest, (data, count))

    @given(st.lists(st.sampled_from([b"a", b"\n"])).map(b"".join), st.integers(0, 10))
    def test_theyAreTheLastOfAllLines(self, data, count):
        lines = data.splitlines(keepends=True)
        self.assertEqual(data[last_lines_at(data, count) :], b"".join(lines[len(lines) - min(count, len(lines)) :]))
