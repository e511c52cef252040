"""The boundaries of WebSocket frames."""

import os
from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from waiter.router.frames import GOING_AWAY, FrameFollower, close_frame

CONTROL = st.builds(
    lambda opcode, data: [Frame(opcode, data)], st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=125)
)


@st.composite
def messages(draw):
    """The frames of a message, with control frames between them."""
    sizes = draw(st.lists(st.sampled_from([0, 1, 5, 125, 126, 127, 300, 65535, 65536, 70000]), min_size=1, max_size=4))
    opcode = draw(st.sampled_from([Opcode.TEXT, Opcode.BINARY]))
    frames = []
    for index, size in enumerate(sizes):
        frames.append(
            Frame(
                Opcode.CONT if index else opcode,
                b"\x81" * size,
                fin=index == len(sizes) - 1,
                rsv1=not index and draw(st.booleans()),
            )
        )
        if index < len(sizes) - 1:
            frames += [frame for [frame] in draw(st.lists(CONTROL, max_size=2))]
    return frames


STREAM = st.lists(st.one_of(messages(), CONTROL), max_size=5).map(
    lambda parts: [frame for part in parts for frame in part]
)


def serialized(frames, masked):
    pieces = []
    for frame in frames:
        # The library sets the bit of compression only where it has compressed.
        first, *rest = replace(frame, rsv1=False).serialize(mask=masked)
        pieces.append(bytes((first | (0x40 if frame.rsv1 else 0), *rest)))
    return pieces


def split(data, cuts):
    points = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(points)]


def byte_by_byte(data, masked):
    """
    Another reader, which takes one byte after the other: for each place in C{data} whether it is between frames, and
    between messages; C{None} where it is lost or closed.
    """
    places = []
    state, head, need, left, unfinished, dead, closing = "head", [], 2, 0, False, False, False
    for byte in data:
        if dead:
            places.append(None)
            continue
        if state == "head":
            head.append(byte)
            if len(head) == 2:
                need = {126: 4, 127: 10}.get(head[1] & 127, 2)
            if len(head) >= 2 and len(head) == need:
                length = head[1] & 127 if need == 2 else int.from_bytes(bytes(head[2:]), "big")
                opcode = head[0] & 15
                wrong = (
                    opcode not in {0, 1, 2, 8, 9, 10}
                    or head[0] & 0x30
                    or bool(head[1] & 128) != masked
                    or (opcode >= 8 and (length > 125 or head[0] < 128))
                    or length >= 2**63
                    or (opcode < 8 and (opcode == 0) != unfinished)
                )
                if wrong:
                    dead = True
                    places.append(None)
                    continue
                if opcode < 8:
                    unfinished = head[0] < 128
                closing = opcode == 8
                left = length + (4 if masked else 0)
                head, need, state = [], 2, "body" if left else "head"
        else:
            left -= 1
            if not left:
                state = "head"
        boundary = state == "head" and not head
        if closing and boundary:
            dead = True
            places.append(None)
        else:
            places.append((boundary, boundary and not unfinished))
    return places


class FrameFollowerTests(SynchronousTestCase):
    @given(STREAM, st.booleans(), st.lists(st.integers(0, 200000), max_size=20))
    def test_knowsWhereFramesEnd(self, frames, masked, cuts):
        """However the bytes are split, it knows at each split whether it is between frames and between messages."""
        pieces = serialized(frames, masked)
        ends, messages_end, at, unfinished = {0}, {0}, 0, False
        for frame, piece in zip(frames, pieces, strict=True):
            at += len(piece)
            ends.add(at)
            if frame.opcode < 8:
                unfinished = not frame.fin
            if not unfinished:
                messages_end.add(at)
        follower = FrameFollower(masked=masked)
        at = 0
        for piece in split(b"".join(pieces), cuts):
            self.assertEqual(follower.follow(piece), len(piece))
            at += len(piece)
            self.assertEqual((follower.between_frames, follower.between_messages), (at in ends, at in messages_end))
        self.assertEqual((follower.lost, follower.closed), (False, False))

    @given(STREAM, st.booleans(), st.integers(0, 200000), st.lists(st.integers(0, 200000), max_size=5))
    def test_stopsBetweenMessages(self, frames, masked, since, cuts):
        """Asked to stop, it looks at all up to the first place between two messages, and no further."""
        pieces = serialized(frames, masked)
        data = b"".join(pieces)
        since = min(since, len(data))
        places, at, unfinished = [0], 0, False
        for frame, piece in zip(frames, pieces, strict=True):
            at += len(piece)
            unfinished = not frame.fin if frame.opcode < 8 else unfinished
            if not unfinished:
                places.append(at)
        expected = min((place for place in places if place >= since), default=len(data))
        follower = FrameFollower(masked=masked)
        follower.follow(data[:since])
        at = since
        for piece in split(data[since:], cuts):
            looked = follower.follow(piece, stop=True)
            at += looked
            if follower.between_messages:
                break
            self.assertEqual(looked, len(piece))
        self.assertEqual(at, expected)

    @given(st.binary(max_size=200), st.booleans(), st.lists(st.integers(0, 200), max_size=20))
    def test_agreesWithAnotherReaderAboutAnyBytes(self, data, masked, cuts):
        """Bytes at random are understood as a reader does that takes one after the other."""
        self.check_like_another(data, masked, cuts)

    @given(
        st.lists(
            st.builds(
                lambda first, second, rest: bytes((first, second)) + rest,
                st.sampled_from([0x81, 0x01, 0x00, 0x80, 0x88, 0x89, 0xC1, 0x08, 0x83, 0xA1]),
                st.sampled_from([0, 1, 2, 126, 127, 128, 129, 254, 255]),
                st.binary(max_size=12),
            ),
            max_size=6,
        ).map(b"".join),
        st.booleans(),
        st.lists(st.integers(0, 100), max_size=20),
    )
    def test_agreesWithAnotherReaderAboutNearlyFrames(self, data, masked, cuts):
        """So are bytes that are frames for a while."""
        self.check_like_another(data, masked, cuts)

    def check_like_another(self, data, masked, cuts):
        places = byte_by_byte(data, masked)
        follower = FrameFollower(masked=masked)
        at = 0
        for piece in split(data, cuts):
            self.assertEqual(follower.follow(piece), len(piece))
            at += len(piece)
            if not piece:
                continue
            known = None
            if not (follower.lost or follower.closed):
                known = (follower.between_frames, follower.between_messages)
            else:
                self.assertEqual((follower.between_frames, follower.between_messages), (False, False))
            self.assertEqual(known, places[at - 1])

    def test_aCloseFrameEndsIt(self):
        """After a close frame there is no place for anything."""
        for masked in (False, True):
            for payload in (b"", b"\x03\xe8bye"):
                data = Frame(Opcode.CLOSE, payload).serialize(mask=masked)
                follower = FrameFollower(masked=masked)
                follower.follow(data[:-1])
                self.assertFalse(follower.closed)
                follower.follow(data[-1:])
                self.assertTrue(follower.closed)
                self.assertFalse(follower.between_frames)
                self.assertEqual(follower.follow(b"anything"), 8)

    def test_aGreatFrameCostsNothing(self):
        """A frame's length is all that is looked at, so one of an exbibyte is no trouble."""
        follower = FrameFollower(masked=False)
        follower.follow(b"\x82\x7f" + (2**60).to_bytes(8, "big"))
        follower.follow(bytes(2**20))
        self.assertFalse(follower.between_frames)
        self.assertFalse(follower.lost)


class CloseFrameTests(SynchronousTestCase):
    def test_aClientUnderstandsIt(self):
        """A client's library takes it for what it is."""
        client = ClientProtocol(parse_uri("ws://localhost/"), state=OPEN)
        client.receive_data(close_frame(GOING_AWAY, b"going away"))
        self.assertEqual((client.close_rcvd.code, client.close_rcvd.reason), (1001, "going away"))

    def test_aServerUnderstandsTheMaskedOne(self):
        """And a server's the masked one."""
        server = ServerProtocol(state=OPEN)
        server.receive_data(close_frame(GOING_AWAY, b"going away", key=os.urandom(4)))
        self.assertEqual((server.close_rcvd.code, server.close_rcvd.reason), (1001, "going away"))
