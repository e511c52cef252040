"""L{waiter.scheduler.marathon.agent}, where an agent does not answer as agents do."""

from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from waiter.errors import NotFound, ServiceUnavailable
from waiter.scheduler.marathon.agent import AgentFiles


class Answers(Resource):
    isLeaf = True
    content = b""
    code = 200

    def render_GET(self, request):
        request.setResponseCode(self.code)
        return self.content


class AgentTests(SynchronousTestCase):
    def setUp(self):
        self.answers = Answers()
        self.sending = RequestTraversalAgent(self.answers)
        self.files = AgentFiles(Clock(), port=5051, agent=self.sending)

    def failure(self, coroutine, *kinds):
        asked = Deferred.fromCoroutine(coroutine)
        self.sending.flush()
        return self.failureResultOf(asked, *kinds).value

    def test_whatCannotBeUnderstoodIsTheAgentsFault_andSaid(self):
        for content in (
            b"",
            b"<html>",
            b"3",
            b"[3]",
            b'[{"path": 3, "size": "x"}]',
            b'[{"path": "/a"}]',
            b"null",
        ):
            self.answers.content = content
            for asked in (
                self.files.entries("host", "/slaves/a", ""),
                self.files.size("host", "/slaves/a/stdout"),
                self.files.read("host", "/slaves/a/stdout", 0, 10),
            ):
                error = self.failure(asked, ServiceUnavailable)
                self.assertIn("host, whose Mesos agent answers what cannot be understood", str(error))

    def test_otherRefusalsAreSaidAsTheyAre(self):
        self.answers.code = 404
        self.failure(self.files.size("host", "/slaves/a/stdout"), NotFound)
        self.answers.code = 500
        error = self.failure(self.files.size("host", "/slaves/a/stdout"), ServiceUnavailable)
        self.assertIn("it answered with 500", str(error))
