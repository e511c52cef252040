"""The frames of a WebSocket: where they begin and end, and the one that Waiter sends itself."""

import struct

GOING_AWAY = 1001
UNEXPECTED = 1011

_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_KNOWN = frozenset({_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG})
# The most that says how long a frame is.
_LONGEST_HEAD = 10
_KEY_BYTES = 4


class FrameFollower:
    """
    Knows where the frames begin and end in one direction of a WebSocket, of which it looks at the frames' heads only.

    What cannot be a frame ends the following: then nothing is known of this direction any more.

    @ivar lost: it was not a WebSocket, or one with extensions that nobody has heard of.
    @ivar closed: a close frame has passed, after which none may follow.
    """

    __slots__ = ("_closing", "_head", "_key_bytes", "_left", "_unfinished", "closed", "lost")

    def __init__(self, *, masked: bool) -> None:
        """
        @param masked: whether frames are masked, as those of a client are and those of a server are not.
        """
        self.lost = False
        self.closed = False
        self._key_bytes = _KEY_BYTES if masked else 0
        # Of a frame's head, as long as it is not all there.
        self._head = b""
        # Bytes until the end of the frame.
        self._left = 0
        # A message of several frames has begun.
        self._unfinished = False
        self._closing = False

    @property
    def between_frames(self) -> bool:
        """Whether another frame, not of a message, may be put in here."""
        return not (self._left or self._head or self.lost or self.closed)

    @property
    def within_frame(self) -> bool:
        """Whether something of a frame is still to come."""
        return bool(self._left or self._head)

    @property
    def between_messages(self) -> bool:
        """Whether no message is left in the middle here."""
        return self.between_frames and not self._unfinished

    def follow(self, data: bytes, *, stop: bool = False) -> int:
        """
        Take notice of bytes that come next.

        @param stop: look no further than to the first place between two messages.
        @return: how many bytes were looked at: all, if not stopped.
        """
        at, end = 0, len(data)
        while not (self.lost or self.closed):
            if self._left:
                step = min(self._left, end - at)
                at += step
                self._left -= step
            if self._closing and not self._left:
                self.closed = True
            elif stop and self.between_messages:
                return at
            elif at == end:
                return end
            else:
                at = self._begin(data, at)
        return end

    def _begin(self, data: bytes, at: int) -> int:
        """Read a frame's head, or a part of it; answers where it ends."""
        had = len(self._head)
        head = self._head + data[at : at + _LONGEST_HEAD - had]
        if len(head) < 2:
            self._head = head
            return at + len(head) - had
        first, second = head[0], head[1]
        length = second & 0x7F
        size = 2 if length < 126 else 4 if length == 126 else 10
        if len(head) < size:
            self._head = head
            return at + len(head) - had
        if size == 4:
            (length,) = struct.unpack_from("!H", head, 2)
        elif size == 10:
            (length,) = struct.unpack_from("!Q", head, 2)
        if self._misplaced(first, length) or bool(second & 0x80) is not bool(self._key_bytes):
            self.lost = True
            self._head = b""
            return at
        opcode = first & 0x0F
        if opcode < _CLOSE:
            self._unfinished = not first & 0x80
        self._closing = opcode == _CLOSE
        self._head = b""
        self._left = self._key_bytes + length
        return at + size - had

    def _misplaced(self, first: int, length: int) -> bool:
        """Whether a frame cannot be, or not here."""
        opcode = first & 0x0F
        # The first reserved bit says that a message is compressed; nobody uses the others.
        if opcode not in _KNOWN or first & 0x30:
            return True
        if opcode >= _CLOSE:
            return length > 125 or not first & 0x80
        return length >= 2**63 or (opcode == _CONTINUATION) is not self._unfinished


def close_frame(code: int, reason: bytes, *, key: bytes | None = None) -> bytes:
    """
    The frame that ends a WebSocket.

    @param code: why, as a number; one of those at the top of this module.
    @param reason: why, in at most 123 bytes.
    @param key: four random bytes, if it is sent to a server.
    """
    payload = struct.pack("!H", code) + reason
    if key is None:
        return bytes((0x80 | _CLOSE, len(payload))) + payload
    masked = bytes([byte ^ key[index % _KEY_BYTES] for index, byte in enumerate(payload)])
    return bytes((0x80 | _CLOSE, 0x80 | len(payload))) + key + masked
