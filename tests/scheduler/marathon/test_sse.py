"""The format of event streams."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.scheduler.marathon.sse import Event, EventReader

STREAM = (
    b"event: event_stream_attached\r\ndata: {}\r\n\r\n"
    b"\r\n"
    b": a comment\n"
    b'event: status_update_event\ndata: {"taskId":"a.1",\ndata: "appId":"/a"}\nid: 7\n\n'
    b"data: alone\n\n"
    b"event: cut off\ndata: x"
)


def read(*pieces, **options):
    events = []
    reader = EventReader(events.append, **options)
    for piece in pieces:
        reader.feed(piece)
    return events


class EventReaderTests(SynchronousTestCase):
    def test_aStreamIsCutIntoEvents(self):
        self.assertEqual(
            read(STREAM),
            [
                Event(type="event_stream_attached", data="{}"),
                Event(type="status_update_event", data='{"taskId":"a.1",\n"appId":"/a"}'),
                Event(type="message", data="alone"),
            ],
        )

    @given(st.lists(st.integers(min_value=0, max_value=len(STREAM)), max_size=6))
    def test_itDoesNotMatterHowItIsCut(self, cuts):
        places = [0, *sorted(cuts), len(STREAM)]
        pieces = [STREAM[start:end] for start, end in pairwise(places)]
        self.assertEqual(read(*pieces), read(STREAM))

    @given(st.lists(st.binary(max_size=40), max_size=10))
    def test_nothingIsTooStrange(self, pieces):
        read(*pieces)

    def test_whatIsTooLongIsNotKept(self):
        large = b"event: deployment_success\ndata: " + b"x" * 5000 + b"\n\nevent: small\ndata: y\n\n"
        for pieces in ([large], [large[start : start + 100] for start in range(0, len(large), 100)]):
            self.assertEqual(
                read(*pieces, longest=1000),
                [Event(type="deployment_success", data=None), Event(type="small", data="y")],
            )

    def test_aLineWithoutAnEndDoesNotFillTheMemory(self):
        events = []
        reader = EventReader(events.append, longest=1000)
        for _ in range(100):
            reader.feed(b"data: " + b"x" * 500)
        self.assertLess(len(reader._rest), 1100)
