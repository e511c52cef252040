"""The picture that browsers ask for: a bell on a counter, 16 by 16."""

import struct

_PICTURE = """
................
.......##.......
......####......
.......##.......
.....######.....
....########....
...##########...
..############..
..############..
.##############.
.##############.
.##############.
................
################
################
................
"""


def favicon() -> bytes:
    """The picture as an ICO file."""
    rows = _PICTURE.split()
    ink, paper = b"\x33\x33\xcc\xff", b"\x00\x00\x00\x00"
    # A bitmap has its rows from the bottom up, and after them a mask of one bit per point in rows of 4 bytes.
    points = b"".join(ink if point == "#" else paper for row in reversed(rows) for point in row)
    mask = bytes(4 * len(rows))
    size = len(rows)
    bitmap = struct.pack("<IiiHHIIiiII", 40, size, 2 * size, 1, 32, 0, len(points) + len(mask), 0, 0, 0, 0)
    bitmap += points + mask
    head = struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", size, size, 0, 0, 1, 32, len(bitmap), 22)
    return head + bitmap
