"""The form of an answer, and errors in each form."""

import json
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter import errors
from waiter.admin.negotiation import ErrorContext, internal_error, linked, preferred, render_error, shown

CONTEXT = ErrorContext(cid="c", timestamp=0.0)

ANY_TEXT = st.text(st.characters(), max_size=60)
HOSTILE = st.sampled_from(
    [
        "<script>alert(1)</script>",
        "\"' onmouseover=alert(1) x='",
        'https://a/"><img src=x onerror=alert(1)>',
        "javascript:alert(1)",
        "</title><script>",
        "]]>&lt;&amp;",
        "\ud800",
        "\x00\x1b[2J",
        "http://x/'onclick='y",
    ]
)
TEXT = st.one_of(ANY_TEXT, HOSTILE, st.lists(st.one_of(ANY_TEXT, HOSTILE), max_size=3).map("".join))
JSON_ABLE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=8,
)
CONTEXTS = st.builds(
    ErrorContext,
    cid=TEXT,
    timestamp=st.floats(0, 4e9),
    host=st.none() | TEXT,
    request_method=st.none() | TEXT,
    uri=st.none() | TEXT,
    query_string=st.none() | TEXT,
    principal=st.none() | TEXT,
    service_id=st.none() | TEXT,
    instance_id=st.none() | TEXT,
    waiter_token=st.none() | TEXT,
)
ERRORS = st.builds(
    lambda kind, message, details: kind(message, details=details),
    st.sampled_from([errors.BadRequest, errors.NoInstanceInTime, errors.WaiterError, errors.ServiceMisconfigured]),
    TEXT,
    st.dictionaries(TEXT, JSON_ABLE, max_size=4),
)


class Page(HTMLParser):
    """What a browser makes of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags = []
        self.text = []
        self.links = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, frozenset(name for name, _ in attributes)))
        if tag == "a":
            self.links.append(dict(attributes)["href"])

    def handle_data(self, data):
        self.text.append(data)


class PreferredTests(SynchronousTestCase):
    def test_firstOfJsonHtmlAndTextThatIsAccepted(self):
        for accept, content_type, expected in [
            (None, None, "text"),
            (b"application/json", None, "json"),
            (b"text/html, application/json;q=0.1", None, "json"),
            (b"text/html,application/xhtml+xml,*/*;q=0.8", b"application/json", "html"),
            (b"Text/HTML", None, "html"),
            (b"text/plain", b"application/json", "text"),
            (b"*/*", None, "text"),
            (b"*/*", b"application/json; charset=utf-8", "json"),
            (b"image/png", b"text/html", "text"),
            (b"\xff", b"\xff", "text"),
        ]:
            self.assertEqual(preferred(accept, content_type), expected, (accept, content_type))


class RenderErrorTests(SynchronousTestCase):
    def test_jsonHasAllFields(self):
        error = errors.QueueFull("Max queue length exceeded", details={"max-queue-length": 5, "who": {"b", "a"}})
        context = ErrorContext(
            cid="c",
            timestamp=1769860800.25,
            host="h",
            request_method="get",
            uri="/u",
            query_string="q=1",
            principal="alice",
            service_id="s",
            instance_id="s.1",
            waiter_token="t",
            support_info=({"label": "Help", "link": {"type": "url", "value": "https://help"}},),
        )
        content_type, body = render_error(error, context, "json")
        self.assertEqual(content_type, b"application/json")
        self.assertEqual(
            json.loads(body),
            {
                "waiter-error": {
                    "cid": "c",
                    "details": {
                        "error-class": "waiter.QueueLength",
                        "max-queue-length": 5,
                        "who": ["a", "b"],
                    },
                    "host": "h",
                    "instance-id": "s.1",
                    "message": "Max queue length exceeded",
                    "principal": "alice",
                    "query-string": "q=1",
                    "request-method": "GET",
                    "service-id": "s",
                    "status": 503,
                    "support-info": [{"label": "Help", "link": {"type": "url", "value": "https://help"}}],
                    "timestamp": "2026-01-31T12:00:00.250Z",
                    "title": "Service Queue Length Exceeded",
                    "uri": "/u",
                    "waiter-token": "t",
                }
            },
        )

    def test_textHasATitleTheMessageAndPairsOfKeyAndValue(self):
        error = errors.NoInstanceInTime(
            "After 1 seconds, no instance available to handle request.\nCheck it!",
            details={"waiting-for-available-instance": 1, "requests-waiting-to-stream": 0, "output": "a\nb"},
        )
        content_type, body = render_error(error, ErrorContext(cid="c", timestamp=0, uri="/u"), "text")
        self.assertEqual(content_type, b"text/plain; charset=utf-8")
        self.assertEqual(
            body.decode().splitlines(),
            [
                "Request Timeout",
                "===============",
                "",
                "  After 1 seconds, no instance available to handle request.",
                "  Check it!",
                "",
                "  cid c",
                "  status 503",
                "  timestamp 1970-01-01T00:00:00.000Z",
                "  uri /u",
                "  waiting-for-available-instance 1",
                "  requests-waiting-to-stream 0",
                '  output "a\\nb"',
                "  error-class waiter.RequestTimeout",
            ],
        )

    def test_htmlHasTheSameDataAndNothingFromElsewhere(self):
        error = errors.ServiceFailing("See https://a.b/c?d=1&e=2.\n<pre>", details={"exit-code": 127})
        content_type, body = render_error(error, CONTEXT, "html")
        self.assertEqual(content_type, b"text/html; charset=utf-8")
        page = Page(body.decode())
        self.assertEqual(page.links, ["https://a.b/c?d=1&e=2"])
        text = "".join(page.text)
        self.assertIn("See https://a.b/c?d=1&e=2.\n<pre>", text)
        self.assertIn("Service Deployment Error", text)
        self.assertIn("exit-code127", text)

    def test_errorsWithoutATitleGetOneFromTheirStatus(self):
        self.assertIn(
            b"Waiter Error 502\n================\n", render_error(errors.InstanceFailed(""), CONTEXT, "text")[1]
        )

    def test_unexpectedExceptionsKeepTheirWords(self):
        self.assertEqual(internal_error(ValueError("x")).message, "Internal error: x")
        self.assertEqual(internal_error(ValueError()).message, "Internal error: ValueError")
        self.assertEqual(internal_error(ValueError()).status, 500)

    @given(ERRORS, CONTEXTS)
    def test_jsonIsAlwaysValid(self, error, context):
        def no_constant(word):
            raise AssertionError(word)

        _, body = render_error(error, context, "json")
        rendered = json.loads(body.decode("utf-8"), parse_constant=no_constant)["waiter-error"]
        self.assertEqual(rendered["status"], error.status)
        self.assertEqual(rendered["message"], error.message.encode("utf-8", "replace").decode())

    @given(ERRORS, CONTEXTS)
    def test_htmlIsNeverMoreThanOurOwnTags(self, error, context):
        _, body = render_error(error, context, "html")
        page = Page(body.decode("utf-8"))
        allowed = {
            "a": {"href", "rel"},
            "meta": {"charset", "http-equiv", "content", "name"},
            "html": {"lang"},
            "p": {"class"},
            **dict.fromkeys(("head", "title", "style", "body", "h1", "table", "tr", "th", "td"), frozenset()),
        }
        for tag, attributes in page.tags:
            self.assertIn(tag, allowed)
            self.assertLessEqual(attributes, allowed[tag], tag)
        for link in page.links:
            self.assertRegex(link, r"\Ahttps?://")

    @given(ERRORS, CONTEXTS)
    def test_textIsAlwaysUtf8AndBeginsWithTheTitle(self, error, context):
        _, body = render_error(error, context, "text")
        title, rule = body.decode("utf-8").split("\n")[:2]
        self.assertEqual(rule, "=" * len(title))

    @given(TEXT)
    def test_linkedTextReadsAsBefore(self, text):
        self.assertEqual("".join(Page(linked(text)).text).replace("\r", ""), _as_parsed(text))


class ShownTests(SynchronousTestCase):
    def test_bytesAreShownAsTextWhateverTheyAre(self):
        self.assertIsNone(shown(None))
        self.assertEqual(shown("grün".encode()), "grün")
        self.assertEqual(shown(b"a\xff"), "a\\xff")


def _as_parsed(text):
    """Text as C{HTMLParser} gives it back when it was escaped."""
    from html import escape

    return "".join(Page(escape(text)).text).replace("\r", "")
