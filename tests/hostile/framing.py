"""Where a body ends: lengths against codings, strange ones of either."""

from itertools import product

from tests.hostile.case import BAD, NOT_KNOWN, SMUGGLED, Family, post

LENGTH, CODING = b"Content-Length: ", b"Transfer-Encoding: "
PREFIX = b"GET /smuggled HTTP/1.1\r\nX-Ignore: "

LENGTHS_BESIDE_CHUNKS = (b"0", b"1", b"3", b"4", b"5", b"6", b"13", b"44", b"00", b"+5", b"-1", b"5 ", b"", b"9" * 19)
"""With a body in chunks."""

DISGUISED_CODINGS = (
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding\t: chunked",
    b" Transfer-Encoding: chunked",
    b"\tTransfer-Encoding: chunked",
    b"\x0bTransfer-Encoding: chunked",
    b"Transfer-Encoding:\x0bchunked",
    b"Transfer-Encoding: \x0cchunked",
    b"Transfer-Encoding:\x00chunked",
    b"Transfer-Encoding: chunked\x00",
    b"Transfer\x00-Encoding: chunked",
    b"Transfer-Encoding: chun\x00ked",
    b"Transfer-Encoding\x00: chunked",
    b"Transfer-Encoding: chunked\r",
    b"Transfer-Encoding\r\n: chunked",
    b"Transfer-Encoding: \r\n chunked",
    b"Transfer-Encoding:\r\n\tchunked",
    b"Transfer-Encoding: chun\r\n ked",
    b"Transfer-Encoding:\n chunked",
    b"X: y\r\n Transfer-Encoding: chunked",
    b"X: y\rTransfer-Encoding: chunked",
    b"X: y\nTransfer-Encoding: chunked",
    b"X: y\n\rTransfer-Encoding: chunked",
    b"X: y\r\r\nTransfer-Encoding: chunked",
    b"Transfer Encoding: chunked",
    b"Transfer-Encoding; chunked",
    b"Transfer-Encoding= chunked",
    b"Transfer-Encoding",
    b"Transfer-Encoding chunked",
    b"\xef\xbb\xbfTransfer-Encoding: chunked",
    b"Transfer\xe2\x80\x90Encoding: chunked",
    b"Transfer-\xc4\x94ncoding: chunked",
    b"(Transfer-Encoding): chunked",
)
"""Written so that only some see it; nobody may."""

STRANGE_CODINGS = (
    b"gzip, chunked",
    b"gzip,chunked",
    b"gzip",
    b"deflate",
    b"compress, chunked",
    b"identity",
    b"identity, chunked",
    b"chunked, identity",
    b"chunked, chunked",
    b"chunked, gzip",
    b", chunked",
    b"chunked,",
    b",chunked,",
    b"chunked;q=1",
    b"chunked; a=b",
    b"chunked chunked",
    b"xchunked",
    b"chunkedx",
    b"chunk",
    b"c hunked",
    b'"chunked"',
    b"'chunked'",
    b"chunked\x0b",
    b"chunked\x0c",
    b"\x0bchunked",
    b"chunked\x1f",
    b"\xffchunked",
    b"chunked\xa0",
    b"chunked\xc2\xa0",
    b"\xe1\xb4\x84hunked",
    b"chun\xe2\x84\xaaed",
    b"chunked\x85",
    b"chunked\t",
    b"trailers",
    b"none",
    b"",
)
"""That some take for chunked and others do not."""

CODING_PAIRS = (
    (b"chunked", b"chunked"),
    (b"chunked", b"identity"),
    (b"identity", b"chunked"),
    (b"chunked", b"x"),
    (b"x", b"chunked"),
    (b"chunked", b"cow"),
    (b"gzip", b"chunked"),
    (b"chunked", b"gzip"),
    (b"", b"chunked"),
    (b"chunked", b""),
)

STRANGE_LENGTHS = (
    b"",
    b"+5",
    b"-5",
    b"-0",
    b"+0",
    b"5,5",
    b"5, 5",
    b"5,",
    b",5",
    b"0, 5",
    b"5;",
    b"5;5",
    b"0x5",
    b"0X5",
    b"x5",
    b"0o5",
    b"0b1",
    b"5h",
    b"A",
    b"5.0",
    b".5",
    b"5e0",
    b"1e1",
    b"five",
    b'"5"',
    b"'5'",
    b"(5)",
    b"5 5",
    b"0 5",
    b"5\t5",
    b"5_0",
    b"_5",
    b"5\x00",
    b"\x005",
    b"\x0b5",
    b"5\x0b",
    b"5\x0c",
    b"\xb2",
    b"\xb25",
    b"5\xa0",
    b"\xd9\xa5",
    b"\xef\xbc\x95",
    b"9" * 20,
    b"9" * 30,
    b"1" + b"0" * 400,
    b"4294967301x",
    b"18446744073709551616",
    b"18446744073709551621",
    b"36893488147419103237",
    b"9223372036854775808",
    b"9223372036854775813",
    b"-9223372036854775803",
    b"%35",
    b"NaN",
    b"inf",
    b"None",
)
PLAIN_LENGTHS = (b"5", b" 5", b"\t5", b"5 ", b"5\t", b" \t 5 \t ", b"05", b"0000005", b"0" * 15 + b"5")
LENGTH_PAIRS = ((b"5", b"5"), (b"5", b"6"), (b"6", b"5"), (b"0", b"44"), (b"44", b"0"), (b"5", b""), (b"", b"5"))


def length_then_coding():
    """CL.TE: the length first."""
    family = Family("CL.TE")
    for length in LENGTHS_BESIDE_CHUNKS:
        family.refused(post(LENGTH + length, CODING + b"chunked", body=b"0\r\n\r\n"))
        family.refused(post(b"content-length:" + length, b"TRANSFER-ENCODING:chunked", body=b"0\r\n\r\n" + PREFIX))
    for line in DISGUISED_CODINGS:
        family.refused(post(LENGTH + b"5", line, body=b"0\r\n\r\n"))
    for coding in (b"identity", b"gzip", b"x", b"", b"Chunked", b"CHUNKED"):
        family.refused(post(LENGTH + b"5", CODING + coding, body=b"0\r\n\r\n"), status=(BAD, NOT_KNOWN))
    return family.cases


def coding_then_length():
    """TE.CL: the coding first."""
    family = Family("TE.CL")
    chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
    for length in LENGTHS_BESIDE_CHUNKS:
        family.refused(post(CODING + b"chunked", LENGTH + length, body=chunk))
        family.refused(post(b"transfer-encoding:Chunked", b"X: y", b"CONTENT-LENGTH:" + length, body=chunk))
    for line in DISGUISED_CODINGS:
        family.refused(post(line, LENGTH + b"4", body=chunk))
    for line in (b"Content-Length : 4", b" Content-Length: 4", b"Content-Length:\x004", b"X: y\nContent-Length: 4"):
        family.refused(post(CODING + b"chunked", line, body=chunk))
    return family.cases


def two_codings():
    """TE.TE: several codings, or one that is hidden from some."""
    family = Family("TE.TE")
    for coding in STRANGE_CODINGS:
        family.refused(post(CODING + coding, body=b"0\r\n\r\n"), status=(BAD, NOT_KNOWN))
    for one, two in CODING_PAIRS:
        family.refused(post(CODING + one, CODING + two, body=b"0\r\n\r\n"), status=(BAD, NOT_KNOWN))
    for line in DISGUISED_CODINGS:
        family.refused(post(line, body=b"0\r\n\r\n"))
        family.refused(post(CODING + b"chunked", line, body=b"0\r\n\r\n"))
        family.refused(post(line, CODING + b"chunked", body=b"0\r\n\r\n"))
    # What some take for the header is none, and the request has no body.
    for name in (b"Transfer_Encoding", b"Transfer.Encoding", b"X-Transfer-Encoding", b"TE", b"Transfer-Encodin"):
        family.served(post(name + b": chunked"), (b"POST", b"/", b""))
    for written in (b"chunked", b"Chunked", b"CHUNKED", b"\tchunked", b"  chunked  "):
        family.served(post(b"Transfer-Encoding:" + written, body=b"3\r\nabc\r\n0\r\n\r\n"), (b"POST", b"/", b"abc"))
    for coding in (b"chunked", b"identity", b"x"):
        stream = post(CODING + coding, body=b"0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0", 1)
        family.refused(stream, status=(BAD, NOT_KNOWN))
    return family.cases


def lengths():
    """Content-Length alone."""
    family = Family("Content-Length")
    for length, method in product(STRANGE_LENGTHS, (b"POST", b"GET")):
        family.refused(post(LENGTH + length, body=b"hello", method=method))
    for one, two in LENGTH_PAIRS:
        family.refused(post(LENGTH + one, LENGTH + two, body=b"hello"))
        family.refused(post(LENGTH + one, b"X: y", b"CONTENT-LENGTH:" + two, body=b"hello"))
    for length in PLAIN_LENGTHS:
        family.served(post(b"Content-Length:" + length, body=b"hello"), (b"POST", b"/", b"hello"))
    for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"TRACE"):
        family.served(post(LENGTH + b"5", body=b"hello", method=method), (method, b"/", b"hello"))
    for name in (b"Content_Length", b"Content-Lengt", b"X-Content-Length", b"Content.Length"):
        family.served(post(name + b": 44"), (b"POST", b"/", b""))
    return family.cases
