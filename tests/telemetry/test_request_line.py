"""Lines of the request log."""

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.errors import NotFound, QueueFull
from waiter.telemetry.request_line import common_members, request_line

TEXT = st.binary(max_size=40) | st.text(st.characters(), max_size=40)
NUMBER = st.integers(0, 2**63)
REQUIRED = {"cid": TEXT, "request_id": TEXT, "path": TEXT}
OPTIONAL = {
    "query_string": TEXT,
    "response_content_length": NUMBER,
    "get_instance_latency_ns": NUMBER,
    "backend_response_latency_ns": NUMBER,
    "handle_request_latency_ns": NUMBER,
    "retries": NUMBER,
}
COMMON = dict.fromkeys(("request_type", "method", "scheme", "host", "client_protocol", "remote_addr"), TEXT)
COMMON_OPTIONAL = {
    "user_agent": TEXT,
    "referer": TEXT,
    "request_content_length": NUMBER,
    "request_content_type": TEXT,
    "principal": TEXT,
    "status": NUMBER,
    "response_content_type": TEXT,
    "service_id": TEXT,
    "instance_id": TEXT,
    "instance_host": TEXT,
    "instance_port": NUMBER,
    "instance_proto": TEXT,
    "backend_protocol": TEXT,
}
CLIENT = {
    "request_type": "proxy",
    "method": b"GET",
    "scheme": "http",
    "host": b"h",
    "client_protocol": "HTTP/1.1",
    "remote_addr": "127.0.0.1",
}


def only_json(word):
    raise AssertionError(word)


class RequestLineTests(SynchronousTestCase):
    def test_itIsOneLineUnderTheOutsideNames(self):
        line = request_line(
            cid=b"c",
            request_id=b"r",
            path=b"/p",
            query_string=b"q=1",
            request_time=1769860800.25,
            get_instance_latency_ns=1,
            backend_response_latency_ns=2,
            handle_request_latency_ns=3,
            common=common_members(
                **CLIENT,
                status=200,
                service_id="s",
                instance_id="s.1",
                instance_host="127.0.0.1",
                instance_port=10001,
                user_agent=b"curl",
                principal="alice",
                error=QueueFull("full"),
            ),
        )
        self.assertEqual(line.count("\n"), 1)
        self.assertTrue(line.endswith("}\n"))
        self.assertEqual(
            json.loads(line),
            {
                "cid": "c",
                "request-id": "r",
                "host": "h",
                "path": "/p",
                "query-string": "q=1",
                "method": "GET",
                "status": 200,
                "service-id": "s",
                "instance-id": "s.1",
                "instance-host": "127.0.0.1",
                "instance-port": 10001,
                "scheme": "http",
                "client-protocol": "HTTP/1.1",
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

    def test_falseValuesAreWritten(self):
        line = request_line(
            cid="", request_id="", path=b"", request_time=0.0, retries=0, common=common_members(**CLIENT, status=0)
        )
        written = json.loads(line)
        self.assertEqual((written["status"], written["path"], written["retries"]), (0, "", 0))

    def test_errorsWithoutANameOfTheirOwnAreNamedAsTheirClass(self):
        self.assertEqual(
            json.loads("{" + common_members(**CLIENT, error=NotFound("no"))[1:] + "}")["waiter-error-class"], "NotFound"
        )

    @given(
        st.fixed_dictionaries(REQUIRED, optional=OPTIONAL),
        st.fixed_dictionaries(COMMON, optional=COMMON_OPTIONAL),
    )
    def test_anyContentIsOneLineOfValidAscii(self, varying, common):
        line = request_line(request_time=0.0, common=common_members(**common), **varying)
        self.assertTrue(line.isascii())
        self.assertEqual(line.splitlines(), [line[:-1]])
        written = json.loads(line, parse_constant=only_json)
        self.assertEqual(written.pop("request-time"), "1970-01-01T00:00:00.000Z")
        self.assertEqual(
            written, {name.replace("_", "-"): _expected(value) for name, value in {**varying, **common}.items()}
        )


def _expected(value):
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value
