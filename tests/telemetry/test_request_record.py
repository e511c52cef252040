"""Records of requests as JSON."""

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.telemetry import request_record
from waiter.telemetry.request_record import RecordEncoder, RequestRecord

TEXT = st.none() | st.binary(max_size=40) | st.text(st.characters(), max_size=40)
NUMBER = st.none() | st.integers(0, 2**63)
FIELDS = {
    name: NUMBER if "int" in str(kind) else TEXT
    for name, kind in RequestRecord.__annotations__.items()
    if name != "request_time"
}


def record(**fields):
    made = RequestRecord()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def only_json(word):
    raise AssertionError(word)


class RecordEncoderTests(SynchronousTestCase):
    def test_recordIsOneLineUnderTheOutsideNames(self):
        line = RecordEncoder()(
            record(
                cid=b"c",
                host=b"h",
                path=b"/p",
                query_string=b"q=1",
                method=b"GET",
                status=200,
                service_id="s",
                instance_id="s.1",
                instance_host="127.0.0.1",
                instance_port=10001,
                remote_addr="127.0.0.1",
                request_time=1769860800.25,
                get_instance_latency_ns=1,
                backend_response_latency_ns=2,
                handle_request_latency_ns=3,
                request_type="proxy",
                user_agent=b"curl",
                principal="alice",
                waiter_error_class="waiter.QueueLength",
            )
        )
        self.assertEqual(line.count("\n"), 1)
        self.assertTrue(line.endswith("}\n"))
        self.assertEqual(
            json.loads(line),
            {
                "cid": "c",
                "host": "h",
                "path": "/p",
                "query-string": "q=1",
                "method": "GET",
                "status": 200,
                "service-id": "s",
                "instance-id": "s.1",
                "instance-host": "127.0.0.1",
                "instance-port": 10001,
                "remote-addr": "127.0.0.1",
                "request-time": "2026-01-31T12:00:00.250Z",
                "get-instance-latency-ns": 1,
                "backend-response-latency-ns": 2,
                "handle-request-latency-ns": 3,
                "request-type": "proxy",
                "user-agent": "curl",
                "principal": "alice",
                "waiter-error-class": "waiter.QueueLength",
            },
        )

    def test_everyFieldIsWritten(self):
        fields = {name: 1 if kind is NUMBER else name for name, kind in FIELDS.items()}
        written = json.loads(RecordEncoder()(record(**fields, request_time=0.0)))
        self.assertEqual(
            written,
            {
                **{name.replace("_", "-"): value for name, value in fields.items()},
                "request-time": "1970-01-01T00:00:00.000Z",
            },
        )
        self.assertEqual(set(RequestRecord.__slots__), set(RequestRecord.__annotations__))

    def test_emptyRecordIsAnEmptyObject(self):
        self.assertEqual(RecordEncoder()(RequestRecord()), "{}\n")

    def test_falseValuesAreWritten(self):
        written = json.loads(RecordEncoder()(record(status=0, path=b"", retries=0)))
        self.assertEqual(written, {"status": 0, "path": "", "retries": 0})

    def test_whatIsRepeatedDoesNotLeakIntoOtherRecords(self):
        encode = RecordEncoder()
        lines = [
            encode(record(service_id="a", cid=b"1")),
            encode(record(service_id="b", cid=b"2")),
            encode(record(service_id="a", cid=b"3", status=200)),
            encode(record(service_id="a", cid=b"4")),
        ]
        self.assertEqual(
            [json.loads(line) for line in lines],
            [
                {"service-id": "a", "cid": "1"},
                {"service-id": "b", "cid": "2"},
                {"service-id": "a", "cid": "3", "status": 200},
                {"service-id": "a", "cid": "4"},
            ],
        )

    def test_memoryIsBounded(self):
        encode = RecordEncoder()
        for number in range(request_record._MAX_FRAGMENTS * 2 + 10):
            encode(record(user_agent=b"%d" % number))
        self.assertLessEqual(len(encode._fragments), request_record._MAX_FRAGMENTS)
        encode = RecordEncoder()
        line = encode(record(user_agent=b"x" * 10000))
        self.assertEqual(len(json.loads(line)["user-agent"]), 10000)
        self.assertEqual(encode._fragments, {})

    @given(st.lists(st.fixed_dictionaries({}, optional=FIELDS), min_size=1, max_size=4))
    def test_anyContentIsOneLineOfValidAscii(self, records):
        encode = RecordEncoder()
        for fields in (*records, *records):
            line = encode(record(**fields))
            self.assertTrue(line.isascii())
            self.assertEqual(line.splitlines(), [line[:-1]])
            written = json.loads(line, parse_constant=only_json)
            self.assertEqual(
                written,
                {name.replace("_", "-"): _expected(value) for name, value in fields.items() if value is not None},
            )


def _expected(value):
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value
