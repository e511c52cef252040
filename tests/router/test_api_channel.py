"""Requests for Waiter itself, answered by resources of twisted.web."""

import json

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from tests.admin.support import Api
from tests.router.world import World, chunked, get, head, ok, parse, unchunk, values
from waiter.admin.app import api_resource
from waiter.admin.noted import noted
from waiter.errors import ServiceNotFound
from waiter.router.limits import Limits


def own(target=b"/", *headers, method=b"GET", body=b"", version=b"1.1"):
    length = (b"Content-Length: %d" % len(body),) if body else ()
    return head(b"%b %b HTTP/%b" % (method, target, version), b"Host: localhost:9091", *length, *headers) + body


class Echo(Resource):
    """Tells what it was asked."""

    isLeaf = True

    def __init__(self):
        super().__init__()
        self.requests = []

    def render(self, request):
        self.requests.append(request)
        request.setHeader(b"content-type", b"text/plain")
        return b"%b %b %b %b" % (request.method, request.uri, request.clientproto, request.content.read())


class Later(Resource):
    """Answers when the test says so."""

    isLeaf = True

    def render(self, request):
        self.request = request
        self.finished = request.notifyFinish()
        return NOT_DONE_YET


class StoppingTests(SynchronousTestCase):
    def test_whatWaitsIsNotWaitedForLongWhenTheRouterStops(self):
        """As requests for services are not; who gets an answer already goes on."""
        waiting, answering = Later(), Later()
        root = Resource()
        root.putChild(b"waiting", waiting)
        root.putChild(b"answering", answering)
        world = World(api=root, limits=Limits(drain_waiting_secs=5))
        first, second = world.client(), world.client()
        first.deliver(own(b"/waiting"))
        second.deliver(own(b"/answering"))
        answering.request.write(b"so ")
        world.factory.drain(30)
        world.wait(4)
        self.assertEqual(first.take(), b"")
        world.wait(2)
        status, headers, _ = parse(first.take())
        self.assertEqual((status, values(headers, b"connection")), (b"HTTP/1.1 503 Service Unavailable", [b"close"]))
        self.failureResultOf(waiting.finished)
        self.assertNoResult(answering.finished)
        self.assertIsNone(second.end)


class ApiTests(SynchronousTestCase):
    def test_answer(self):
        """A request for Waiter's own host is answered by its resources."""
        world = World(api=Echo())
        client = world.client()
        client.deliver(own(b"/apps?a=b"))
        first, headers, rest = parse(client.take())
        self.assertEqual((first, rest), (b"HTTP/1.1 200 OK", b"GET /apps?a=b HTTP/1.1 "))
        self.assertEqual(values(headers, b"content-length"), [b"%d" % len(rest)])
        self.assertEqual(values(headers, b"server"), [b"waiter/1"])
        self.assertEqual(values(headers, b"connection"), [])
        self.assertEqual(len(values(headers, b"x-cid")), 1)
        self.assertEqual(client.end, None)
        self.assertEqual((world.metrics.router.api_requests, world.metrics.router.requests_total), (1, 1))
        self.assertEqual(world.catalogue.asked, [])
        (record,) = world.log.records
        self.assertEqual((record.request_type, record.status, record.path), ("waiter-api", 200, "/apps"))

    def test_theLogTellsWhoAskedFromWhereAndWhatWentWrong(self):
        """What the resources learned of the request is in its record."""

        class Refusing(Resource):
            isLeaf = True

            def render(self, request):
                noted(request).principal = "alice@EXAMPLE"
                noted(request).error = ServiceNotFound("no")
                request.setResponseCode(404)
                return b"no"

        world = World(api=Refusing())
        world.client().deliver(own(b"/apps/x", b"Referer: http://localhost:9091/"))
        (record,) = world.log.records
        self.assertEqual(record.principal, "alice@EXAMPLE")
        self.assertEqual(record.referer, "http://localhost:9091/")
        self.assertEqual(record.waiter_error_class, "ServiceNotFound")

    def test_waitersOwnResourcesLeaveTheirNotes(self):
        """Who asked and which error was answered."""
        world = World(api=api_resource(Api().parts))
        world.client().deliver(own(b"/nothing"))
        world.step()
        (record,) = world.log.records
        self.assertEqual(record.status, 404)
        self.assertEqual(record.principal, Api().parts.principal(None))
        self.assertEqual(record.waiter_error_class, "NotFound")

    def test_severalRequests(self):
        """Requests for Waiter and for services follow each other on one connection, sent ahead or not."""
        world = World(api=Echo())
        client, instance = world.ask(own(b"/1") + get(b"/2") + own(b"/3") + own(b"/4", method=b"PUT", body=b"body"))
        self.assertTrue(client.take().endswith(b"GET /1 HTTP/1.1 "))
        instance.deliver(ok(b"two"))
        answers = client.take()
        places = [answers.index(word) for word in (b"two", b"GET /3 HTTP/1.1 ", b"PUT /4 HTTP/1.1 body")]
        self.assertEqual(places, sorted(places))

    def test_bodies(self):
        """Bodies of every framing reach the resource whole."""
        for request in (
            own(method=b"POST", body=b"some body"),
            own(b"/", b"Transfer-Encoding: chunked", method=b"POST") + chunked(b"some ", b"body"),
        ):
            for pieces in ([request], [bytes([byte]) for byte in request]):
                world = World(api=Echo())
                client = world.client()
                for piece in pieces:
                    client.deliver(piece)
                self.assertEqual(parse(client.take())[2], b"POST / HTTP/1.1 some body")

    def test_formsAndCookies(self):
        """They are parsed as twisted.web does it."""
        world = World(api=(echo := Echo()))
        client = world.client()
        client.deliver(
            own(
                b"/?a=1",
                b"Content-Type: application/x-www-form-urlencoded",
                b"Cookie: c=d",
                method=b"POST",
                body=b"b=2",
            )
        )
        (request,) = echo.requests
        self.assertEqual((request.args, request.getCookie(b"c")), ({b"a": [b"1"], b"b": [b"2"]}, b"d"))
        self.assertEqual(request.getClientAddress().host, "127.0.0.1")
        self.assertEqual(request.getHost().port, 9091)
        self.assertFalse(request.isSecure())

    def test_malformedForm(self):
        """What twisted.web calls a bad request is one."""
        world = World(api=Echo())
        client = world.client()
        client.deliver(own(b"/", b"Content-Type: multipart/form-data; boundary=x", method=b"POST", body=b"nonsense"))
        client.take()
        self.assertEqual(len(world.log.records), 1)

    def test_tooLarge(self):
        """A body over the limit is refused, before it is read if its length is known."""
        for request in (
            own(b"/", b"Content-Length: 2000000", method=b"POST"),
            own(b"/", b"Transfer-Encoding: chunked", method=b"POST") + b"100001\r\n" + b"x" * 0x100001,
        ):
            world = World(api=(echo := Echo()))
            client = world.client()
            client.deliver(request)
            first, _headers, rest = parse(client.take())
            self.assertEqual(first[:13], b"HTTP/1.1 413 ")
            self.assertIn(b"1048576", rest)
            self.assertEqual(echo.requests, [])

    def test_refusedBodyIsSkipped(self):
        """A small one is skipped, and the next request answered."""
        world = World(api=Echo(), limits=Limits(api_body_bytes=10))
        client = world.client()
        client.deliver(own(method=b"POST", body=b"x" * 1000) + own(b"/next"))
        answers = client.take()
        self.assertTrue(answers.startswith(b"HTTP/1.1 413"))
        self.assertTrue(answers.endswith(b"GET /next HTTP/1.1 "))

    def test_expectContinue(self):
        """A client that waits for a word gets it, unless its body is not wanted."""
        world = World(api=Echo())
        client = world.client()
        client.deliver(own(b"/", b"Expect: 100-continue", method=b"POST", body=b"body")[:-4])
        self.assertEqual(client.take(), b"HTTP/1.1 100 Continue\r\n\r\n")
        client.deliver(b"body")
        self.assertTrue(client.take().endswith(b"POST / HTTP/1.1 body"))
        client = world.client()
        client.deliver(own(b"/", b"Expect: 100-continue", b"Content-Length: 2000000", method=b"POST"))
        first, headers, _ = parse(client.take())
        self.assertEqual((first[9:12], values(headers, b"connection")), (b"413", [b"close"]))

    def test_head(self):
        """An answer to HEAD has no body."""
        world = World(api=Echo())
        client = world.client()
        client.deliver(own(b"/x", method=b"HEAD") + own(b"/y"))
        _first, headers, rest = parse(client.take())
        self.assertTrue(rest.startswith(b"HTTP/1.1 200 OK"))
        self.assertEqual(values(headers, b"content-length"), [b"%d" % len(b"HEAD /x HTTP/1.1 ")])

    def test_http10(self):
        """HTTP/1.0 clients are told whether their connection goes on."""
        world = World(api=Echo())
        client = world.client()
        client.deliver(own(b"/", b"Connection: keep-alive", version=b"1.0"))
        self.assertEqual(values(parse(client.take())[1], b"connection"), [b"keep-alive"])
        client.deliver(own(version=b"1.0"))
        self.assertEqual(values(parse(client.take())[1], b"connection"), [b"close"])
        self.assertEqual(client.end, "closed")

    def test_connectionClose(self):
        """A client that says so gets its answer, or an error, with the same words, and nothing behind it is answered."""
        for path, status in ((b"/x", b"200"), (b"/apps/x", b"403")):
            world = World(api=Echo())
            client = world.client()
            request = own(path, b"Connection: close", b"Origin: http://evil", method=b"DELETE")
            client.deliver(request.replace(b"Origin", b"Other" if status == b"200" else b"Origin") + own(b"/never"))
            first, headers, rest = parse(client.take())
            self.assertEqual((first[9:12], values(headers, b"connection"), client.end), (status, [b"close"], "closed"))
            self.assertNotIn(b"/never", rest)

    def test_withoutAHost(self):
        """HTTP/1.0 without a Host is for Waiter."""
        world = World(api=Echo())
        client = world.client()
        client.deliver(b"GET /x HTTP/1.0\r\n\r\n")
        self.assertTrue(client.take().endswith(b"GET /x HTTP/1.0 "))

    def test_foreignPages(self):
        """A page of another site changes nothing here."""
        world = World(api=(echo := Echo()))
        client = world.client()
        client.deliver(own(b"/apps/x", b"Origin: http://evil", b"Accept: application/json", method=b"DELETE"))
        first, _, rest = parse(client.take())
        self.assertEqual(first, b"HTTP/1.1 403 Forbidden")
        self.assertEqual(json.loads(rest)["waiter-error"]["uri"], "/apps/x")
        self.assertEqual((echo.requests, world.log.records[0].waiter_error_class), ([], "waiter.CorsRequestForbidden"))

    def test_webSocket(self):
        """Waiter itself speaks no other protocol."""
        world = World(api=Echo())
        client = world.client()
        client.deliver(own(b"/x", b"Connection: Upgrade", b"Upgrade: websocket"))
        self.assertTrue(client.take().endswith(b"GET /x HTTP/1.1 "))
        client.deliver(own(b"/y"))
        self.assertTrue(client.take().endswith(b"GET /y HTTP/1.1 "))

    def test_resourceThatFails(self):
        """An exception in a resource is a 500 for that request."""

        class Broken(Resource):
            isLeaf = True

            def render(self, request):
                raise ZeroDivisionError

        world = World(api=Broken())
        client = world.client()
        client.deliver(own() + own())
        self.assertEqual(client.take().count(b"HTTP/1.1 500"), 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual(client.end, None)

    def test_oneIdInTheRequestTheAnswerAndTheLog(self):
        """The API sees the id that the answer carries, whether the client gave one or not."""
        app = Klein()

        @app.route("/")
        def seen(request):
            return request.getHeader(b"x-cid")

        world = World(api=app.resource())
        client = world.client()
        for given in ([b"x-cid: mine"], [], [b"x-cid: " + b"long" * 100]):
            client.deliver(own(b"/", *given))
            _status, headers, body = parse(client.take())
            logged = world.log.records[-1].cid.encode()
            self.assertEqual(dict(headers)[b"x-cid"], logged)
            self.assertEqual(unchunk(body)[0], logged)
        self.assertEqual(world.log.records[0].cid, "mine")

    def test_klein(self):
        """Klein applications work, Deferreds included."""
        app = Klein()
        waiting = Deferred()

        @app.route("/now/<name>")
        def now(request, name):
            return f"hello {name}"

        @app.route("/later")
        def later(request):
            return waiting

        world = World(api=app.resource())
        client = world.client()
        client.deliver(own(b"/now/you"))
        self.assertIn(b"hello you", client.take())
        client.deliver(own(b"/later") + own(b"/now/again"))
        self.assertEqual(client.take(), b"")
        waiting.callback("at last")
        answers = client.take()
        self.assertLess(answers.index(b"at last"), answers.index(b"hello again"))


class LaterTests(SynchronousTestCase):
    def start(self, *headers, **options):
        world = World(api=(later := Later()))
        client = world.client()
        client.deliver(own(b"/", *headers, **options))
        return world, client, later

    def test_pieces(self):
        """An answer written in pieces is chunked for HTTP/1.1; the connection goes on."""
        _world, client, later = self.start()
        later.request.write(b"one")
        later.request.write(b"two")
        later.request.finish()
        _, headers, rest = parse(client.take())
        self.assertEqual((values(headers, b"transfer-encoding"), values(headers, b"connection")), ([b"chunked"], []))
        self.assertEqual(unchunk(rest)[0], b"onetwo")
        self.assertIsNone(self.successResultOf(later.finished))
        client.deliver(own())
        later.request.finish()
        self.assertEqual(unchunk(parse(client.take())[2])[0], b"")
        self.assertEqual(client.end, None)

    def test_piecesForHTTP10(self):
        """For HTTP/1.0 the end of the connection is its end."""
        _world, client, later = self.start(b"Connection: keep-alive", version=b"1.0")
        later.request.write(b"one")
        later.request.finish()
        _, headers, rest = parse(client.take())
        self.assertEqual((values(headers, b"connection"), rest, client.end), ([b"close"], b"one", "closed"))

    def test_clientGoes(self):
        """A request learns that its client is gone; what it writes then is dropped."""
        for how in ("reset", "finish"):
            world, client, later = self.start()
            later.request.write(b"one")
            getattr(client, how)()
            self.failureResultOf(later.finished)
            later.request.write(b"two")
            self.assertEqual(len(world.log.records), 1)

    def test_drain(self):
        """Answers under way are finished while draining, and say that the connection ends."""
        world, client, later = self.start()
        done = world.factory.drain(10)
        later.request.write(b"one")
        later.request.finish()
        self.assertEqual(values(parse(client.take())[1], b"connection"), [b"close"])
        world.step()
        self.successResultOf(done)

    def test_drainDeadline(self):
        """A request that is not answered by the deadline is told so, as is its client."""
        world, client, later = self.start()
        done = world.factory.drain(10)
        world.wait(11)
        self.successResultOf(done)
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 503 Service Unavailable")
        self.failureResultOf(later.finished)

    def test_abort(self):
        """A request can break its connection off."""
        world, client, later = self.start()
        later.request.write(b"one")
        later.request.transport.abortConnection()
        self.assertEqual(client.end, "aborted")
        world.step()

    def test_close(self):
        """Or close it."""
        world, client, later = self.start()
        later.request.loseConnection()
        self.assertEqual(client.end, "closed")
        world.step()

    def test_pushProducer(self):
        """A producer is paused while the client does not read, and told when it is gone."""

        @implementer(IPushProducer)
        class Producer:
            def __init__(self):
                self.calls = []

            def pauseProducing(self):
                self.calls.append("pause")

            def resumeProducing(self):
                self.calls.append("resume")

            def stopProducing(self):
                self.calls.append("stop")

        _world, client, later = self.start()
        producer = Producer()
        later.request.registerProducer(producer, True)
        client.fill()
        client.drain()
        self.assertEqual(producer.calls, ["pause", "resume"])
        later.request.unregisterProducer()
        later.request.finish()
        self.assertIs(client.producer, client.protocol)
        client.deliver(own())
        later.request.registerProducer(producer, True)
        client.reset()
        self.failureResultOf(later.finished)

    def test_pullProducer(self):
        """A producer that is asked piece by piece is asked until it has no more."""

        @implementer(IPullProducer)
        class Producer:
            left = 3

            def __init__(self, request):
                self.request = request

            def resumeProducing(self):
                self.left -= 1
                self.request.write(b"x")
                if not self.left:
                    self.request.unregisterProducer()
                    self.request.finish()

            def stopProducing(self):
                pass

        world, client, later = self.start()
        later.request.registerProducer(Producer(later.request), False)
        for _ in range(3):
            world.step()
            if client.producer is not client.protocol:
                client.producer.resumeProducing()
        self.assertEqual(unchunk(parse(client.take())[2])[0], b"xxx")
        self.assertIs(client.producer, client.protocol)

    def test_slowBody(self):
        """A body that stops coming is a 408."""
        world = World(api=Echo())
        client = world.client()
        client.deliver(own(method=b"POST", body=b"body")[:-1])
        world.wait(59)
        self.assertEqual(client.take(), b"")
        world.wait(2)
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 408 Request Timeout")
        self.assertTrue(client.half)

    def test_slowResource(self):
        """A resource may take as long as it likes."""
        world, client, later = self.start()
        world.wait(500)
        later.request.write(b"x")
        later.request.finish()
        self.assertEqual(parse(client.take())[0], b"HTTP/1.1 200 OK")
