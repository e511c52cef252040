"""Requests and their answers, seen from both ends."""

from twisted.trial.unittest import SynchronousTestCase

from tests.router.world import SERVICE_HOST, WALL, World, chunked, get, head, ok, parse, post, values
from waiter.router.limits import Limits
from waiter.telemetry.timing import iso_time


class AnsweredTests(SynchronousTestCase):
    def test_answerReachesTheClient(self):
        """A request goes to an instance and its answer comes back, each in one write."""
        world = World()
        client, instance = world.ask(get(b"/a?b=c", b"X-One: 1"))
        first, headers, rest = parse(instance.take())
        self.assertEqual((first, rest), (b"GET /a?b=c HTTP/1.1", b""))
        self.assertEqual(values(headers, b"host"), [SERVICE_HOST])
        self.assertEqual(values(headers, b"x-one"), [b"1"])
        self.assertEqual(values(headers, b"via"), [b"HTTP/1.1 waiter/1"])
        self.assertEqual(values(headers, b"x-forwarded-for"), [b"127.0.0.1"])
        self.assertEqual(world.reserver.slots_in_use, 1)
        self.assertEqual((world.numbers.total, world.numbers.waiting_to_stream), (1, 1))
        instance.deliver(ok(b"hello", b"Server: it"))
        first, headers, rest = parse(client.take())
        self.assertEqual((first, rest), (b"HTTP/1.1 200 OK", b"hello"))
        self.assertEqual(values(headers, b"server"), [b"it"])
        self.assertEqual(values(headers, b"content-length"), [b"5"])
        self.assertEqual(values(headers, b"via"), [b"HTTP/1.1 waiter/1"])
        self.assertEqual((client.writes, instance.writes), (1, 1))
        self.assertEqual((client.end, instance.end), (None, None))
        world.check_idle(self)
        self.assertEqual(
            (world.numbers.successful, world.numbers.status, world.numbers.response_bytes), (1, {200: 1}, 5)
        )

    def test_manyRequestsOnOneConnection(self):
        """A kept-alive client's requests go over one kept-alive connection to the instance, repeated headers or not."""
        world = World()
        client = world.client()
        for n, request in enumerate((get(b"/1"), get(b"/2"), get(b"/3", b"X: y"), get(b"/4", b"X: y"), get(b"/5"))):
            _, instance = world.ask(request, client)
            self.assertEqual(parse(instance.take())[0], b"GET /%d HTTP/1.1" % (n + 1))
            instance.deliver(ok(b"answer %d" % n))
            self.assertEqual(parse(client.take())[2], b"answer %d" % n)
        self.assertEqual(len(world.instances.wires), 1)
        world.check_idle(self)
        self.assertEqual(world.metrics.router.requests_total, 5)

    def test_headersOfARepeatedRequest(self):
        """A request with remembered headers reaches the instance with the same headers as the first."""
        world = World()
        client = world.client()
        seen = []
        for _ in range(3):
            _, instance = world.ask(get(b"/", b"X-One: 1", b"Cookie: a=b", b"x-cid: mine"), client)
            seen.append(parse(instance.take()))
            instance.deliver(ok())
        self.assertEqual(seen[0], seen[1])
        self.assertEqual(seen[0], seen[2])

    def test_correlationIds(self):
        """Each request has an id of its own, which instance, client and log see; a client's own id is kept."""
        world = World()
        client = world.client()
        ids = []
        for headers in ((), (), (b"x-cid: theirs",)):
            _, instance = world.ask(get(b"/", *headers), client)
            sent = values(parse(instance.take())[1], b"x-cid")
            instance.deliver(ok())
            self.assertEqual(values(parse(client.take())[1], b"x-cid"), sent)
            self.assertEqual(world.log.records[-1].cid, sent[0].decode())
            ids += sent
        self.assertEqual(len(set(ids)), 3)
        self.assertEqual(ids[2], b"theirs")
        unique = [record.request_id for record in world.log.records]
        self.assertEqual(len(set(unique)), 3)

    def test_instancesOwnCorrelationId(self):
        """An x-cid in the answer is not repeated."""
        client, instance = World().ask()
        instance.deliver(ok(b"", b"x-cid: its"))
        self.assertEqual(values(parse(client.take())[1], b"x-cid"), [b"its"])

    def test_answerByteByByte(self):
        """An answer that comes in single bytes is the same answer."""
        for answer in (ok(b"hello"), head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked") + chunked(b"hel", b"lo")):
            world = World()
            client, instance = world.ask()
            for byte in answer:
                instance.deliver(bytes([byte]))
            _, headers, rest = parse(client.take())
            if values(headers, b"transfer-encoding"):
                self.assertEqual(rest, chunked(*(bytes([c]) for c in b"hello")))
            else:
                self.assertEqual(rest, b"hello")
            world.check_idle(self)
            self.assertEqual(len(world.backends._idle["s.1"]), 1)

    def test_requestByteByByte(self):
        """A request that comes in single bytes is the same request."""
        for request in (
            get(b"/x"),
            post(b"body"),
            head(b"PUT / HTTP/1.1", b"Host: app.example", b"Transfer-Encoding: chunked") + chunked(b"bo", b"dy"),
        ):
            whole, bytewise = [], []
            for seen, pieces in ((whole, [request]), (bytewise, [bytes([byte]) for byte in request])):
                world = World()
                client = world.client()
                for piece in pieces:
                    client.deliver(piece)
                    world.step()
                first, headers, rest = parse(world.instances.last.take())
                seen += [first, [pair for pair in headers if pair[0] != b"x-cid"], rest.replace(b"\r\n", b"")]
            self.assertEqual(whole[:2], bytewise[:2])

    def test_chunkedAnswer(self):
        """A chunked answer is chunked for an HTTP/1.1 client, one chunk for each segment, with its trailers."""
        world = World()
        client, instance = world.ask()
        instance.deliver(head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n2\r\nde\r\n")
        instance.deliver(b"1;ext=1\r\nf\r\n0\r\nX-Sum: 6\r\nX-Waiter-Bad: 1\r\n\r\n")
        _, headers, rest = parse(client.take())
        self.assertEqual(values(headers, b"transfer-encoding"), [b"chunked"])
        self.assertEqual(rest, b"5\r\nabcde\r\n1\r\nf\r\n0\r\nX-Sum: 6\r\n\r\n")
        self.assertEqual(world.numbers.response_bytes, 6)
        self.assertEqual((client.end, instance.end), (None, None))
        world.check_idle(self)

    def test_answerUntilTheConnectionEnds(self):
        """A body that ends with the instance's connection is chunked for the client, which keeps its own connection."""
        world = World()
        client, instance = world.ask()
        instance.deliver(head(b"HTTP/1.1 200 OK", b"X: y") + b"abc")
        instance.deliver(b"def")
        instance.finish()
        self.assertEqual(parse(client.take())[2], b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")
        world.step()
        self.assertEqual((client.end, instance.end), (None, "closed"))
        world.check_idle(self)
        self.assertEqual(world.numbers.successful, 1)

    def test_emptyAnswerUntilTheConnectionEnds(self):
        """Such a body may be empty."""
        world = World()
        client, instance = world.ask()
        instance.deliver(head(b"HTTP/1.0 200 OK"))
        instance.finish()
        self.assertEqual(parse(client.take())[2], b"0\r\n\r\n")
        world.check_idle(self)

    def test_noBodyWhereThereIsNone(self):
        """Answers to HEAD, and those with 204 and 304, have none; their headers are kept; the connections go on."""
        for request, answer, kept in (
            (get().replace(b"GET", b"HEAD"), head(b"HTTP/1.1 200 OK", b"Content-Length: 5"), [b"5"]),
            (get().replace(b"GET", b"HEAD"), head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked"), []),
            (get().replace(b"GET", b"HEAD"), head(b"HTTP/1.1 404 No", b"X: y"), []),
            (get(), head(b"HTTP/1.1 204 No Content"), []),
            (get(), head(b"HTTP/1.1 304 Not Modified", b"Content-Length: 99", b"ETag: x"), [b"99"]),
        ):
            world = World()
            client = world.client()
            for _ in range(3):
                _, instance = world.ask(request, client)
                instance.deliver(answer)
                _first, headers, rest = parse(client.take())
                self.assertEqual((values(headers, b"content-length"), rest), (kept, b""))
                self.assertEqual(values(headers, b"transfer-encoding"), [])
                self.assertEqual(values(headers, b"connection"), [])
            _, instance = world.ask(get(), client)
            instance.deliver(ok(b"real"))
            self.assertEqual(parse(client.take())[2], b"real")
            self.assertEqual(len(world.instances.wires), 1, answer)

    def test_whatIsReadWhileAnErrorIsBeingHandled(self):
        """Neither the end of an answer to HEAD nor what is wrong with an answer is mistaken for that error."""
        world = World()
        client = world.client()
        for request, answer, expected in (
            (get().replace(b"GET", b"HEAD"), head(b"HTTP/1.1 200 OK", b"Content-Length: 5"), b"200 OK"),
            (get(), ok(b"hello"), b"200 OK"),
            (post(b"x"), head(b"HTTP/1.1 200 OK", b"X: " + b"y" * 100000), b"502 Bad Gateway"),
        ):
            _, instance = world.ask(request, client)
            try:
                [].pop()
            except IndexError:
                instance.deliver(answer)
            got = client.take()
            self.assertEqual(parse(got)[0], b"HTTP/1.1 " + expected)
        self.assertIn(b"The head of the instance's answer has more than", got)
        self.assertEqual(len(world.instances.wires), 1)

    def test_http10Client(self):
        """An HTTP/1.0 client gets no chunks, and a body of unknown length ends with the connection."""
        world = World()
        client, instance = world.ask(get(version=b"1.0"))
        first, headers, _ = parse(instance.take())
        self.assertEqual(first, b"GET / HTTP/1.1")
        instance.deliver(head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked") + chunked(b"abc"))
        _, headers, rest = parse(client.take())
        self.assertEqual((values(headers, b"connection"), values(headers, b"transfer-encoding")), ([b"close"], []))
        self.assertEqual(rest, b"abc")
        self.assertEqual((client.end, instance.end), ("closed", None))

    def test_http10KeepAlive(self):
        """An HTTP/1.0 client that asks for it may keep its connection, if the answer has a length."""
        world = World()
        client = world.client()
        for _ in range(2):
            _, instance = world.ask(get(b"/", b"Connection: Keep-Alive", version=b"1.0"), client)
            instance.deliver(ok(b"abc"))
            self.assertEqual(values(parse(client.take())[1], b"connection"), [b"keep-alive"])
        self.assertEqual(client.end, None)
        _, instance = world.ask(get(b"/", version=b"1.0"), client)
        instance.deliver(ok(b"abc"))
        self.assertEqual(values(parse(client.take())[1], b"connection"), [b"close"])
        self.assertEqual(client.end, "closed")

    def test_connectionClose(self):
        """A client that says Connection: close gets its answer, with the same words, and the connection is closed."""
        world = World()
        client, instance = world.ask(get(b"/", b"Connection: close") + get(b"/never"))
        self.assertNotIn(b"lose", instance.take())
        instance.deliver(ok())
        self.assertEqual(values(parse(client.take())[1], b"connection"), [b"close"])
        world.step()
        self.assertIn(client.end or client.half, ("closed", True))
        self.assertEqual(instance.take(), b"")
        self.assertEqual(world.numbers.total, 1)

    def test_instanceClosesItsConnection(self):
        """An instance that says Connection: close does so for its own connection only."""
        world = World()
        client, instance = world.ask()
        instance.deliver(ok(b"abc", b"Connection: close, X-Private", b"X-Private: 1"))
        _, headers, rest = parse(client.take())
        self.assertEqual((values(headers, b"connection"), values(headers, b"x-private"), rest), ([], [], b"abc"))
        self.assertEqual((client.end, instance.end), (None, "closed"))
        _, other = world.ask(get(), client)
        self.assertIsNot(other, instance)

    def test_duplicateHeadersKeepTheirOrder(self):
        """Repeated headers reach the other side in order and byte by byte."""
        world = World()
        sent = [b"X-A: 1", b"x-b:  two  words", b"X-A: \xff\xfe3", b"x-A:4"]
        client, instance = world.ask(get(b"/", *sent))
        expected = [(b"x-a", b"1"), (b"x-b", b"two  words"), (b"x-a", b"\xff\xfe3"), (b"x-a", b"4")]
        got = [pair for pair in parse(instance.take())[1] if pair[0] in (b"x-a", b"x-b")]
        self.assertEqual(got, expected)
        instance.deliver(ok(b"", *sent, b"Set-Cookie: a=1", b"Set-Cookie: b=2"))
        headers = parse(client.take())[1]
        self.assertEqual([pair for pair in headers if pair[0] in (b"x-a", b"x-b")], expected)
        self.assertEqual(values(headers, b"set-cookie"), [b"a=1", b"b=2"])

    def test_informationalAnswers(self):
        """103 is passed on to HTTP/1.1 clients; 100 only to those who asked; the real answer follows."""
        for version, expected in ((b"1.1", 1), (b"1.0", 0)):
            world = World()
            client, instance = world.ask(get(version=version))
            instance.deliver(head(b"HTTP/1.1 100 Continue") + head(b"HTTP/1.1 103 Early Hints", b"Link: </x>"))
            self.assertEqual(client.take().count(b"103 Early Hints\r\nLink: </x>"), expected)
            instance.deliver(ok(b"abc"))
            self.assertEqual(parse(client.take())[::2], (b"HTTP/1.1 200 OK", b"abc"))
            world.check_idle(self)

    def test_informationalAnswersWithoutEnd(self):
        """So many are passed on; an instance that sends more is not waited for."""
        for whole in (True, False):
            world = World(limits=Limits(informational_answers=10))
            client, instance = world.ask(post(b"x"))
            hint = head(b"HTTP/1.1 103 Early Hints")
            for piece in [hint * 10] if whole else [hint] * 10:
                instance.deliver(piece)
            self.assertEqual((client.take().count(b"103 Early Hints"), instance.end), (10, None))
            instance.deliver(hint)
            self.assertEqual(parse(client.take())[0], b"HTTP/1.1 502 Bad Gateway")
            self.assertEqual((instance.end, world.numbers.instance_error), ("aborted", 1))
            world.check_idle(self)

    def test_informationalAnswersAreCountedForEachRequest(self):
        """A connection may be used for long."""
        world = World(limits=Limits(informational_answers=10))
        client = world.client()
        for _ in range(5):
            _, instance = world.ask(client=client)
            instance.deliver(head(b"HTTP/1.1 103 Early Hints") * 10)
            instance.deliver(ok(b"abc"))
            self.assertTrue(client.take().endswith(b"abc"))
        self.assertEqual(len(world.instances.wires), 1)

    def test_surplusEndsTheInstancesConnection(self):
        """What follows an answer is not taken for the beginning of the next; that connection is not used again."""
        for answer in (
            ok(b"abc") + b"HTTP/1.1 200 OK\r\n",
            ok(b"abc") + b"x",
            head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked") + chunked(b"abc") + ok(),
            head(b"HTTP/1.1 204 No") + ok(),
        ):
            world = World()
            client = world.client()
            for _ in range(2):
                _, instance = world.ask(get(), client)
                instance.deliver(answer)
                self.assertEqual(client.end, None)
                self.assertEqual(instance.end, "closed", answer)
                self.assertEqual(client.take().count(b"HTTP/1.1 "), 2)
            world.check_idle(self)

    def test_surplusAfterHead(self):
        """A body after an answer to HEAD is not passed on, and the connection is not used again."""
        world = World()
        client, instance = world.ask(get().replace(b"GET", b"HEAD"))
        instance.deliver(ok(b"abc"))
        self.assertEqual(parse(client.take())[2], b"")
        self.assertEqual(instance.end, "closed")

    def test_surplusAfterHeadHoweverItIsCut(self):
        """The connection is kept if and only if nothing followed the head."""
        for surplus, end in ((b"", None), (b"x", "closed"), (b"xy", "closed")):
            answer = head(b"HTTP/1.1 200 OK", b"Content-Length: 2")
            for at in range(1, len(answer)):
                world = World()
                _, instance = world.ask(get().replace(b"GET", b"HEAD"))
                instance.deliver(answer[:at])
                instance.deliver(answer[at:] + surplus)
                if instance.end != end:
                    # Whether the end is whole is not known when it comes in two pieces.
                    self.assertEqual((surplus, instance.end, len(answer) - at < 4), (b"", "closed", True))

    def test_surplusBetweenRequests(self):
        """An instance that speaks without being asked loses its connection."""
        world = World()
        client, instance = world.ask()
        instance.deliver(ok())
        instance.deliver(ok(b"poison"))
        self.assertEqual(instance.end, "aborted")
        world.step()
        client.take()
        _, other = world.ask(get(), client)
        self.assertIsNot(other, instance)
        other.deliver(ok(b"right"))
        self.assertEqual(parse(client.take())[2], b"right")

    def test_knownAnswerWithAnotherBody(self):
        """A remembered answer head is found again whatever segments it and its body come in."""
        world = World()
        client = world.client()
        bodies = [b"first", b"secon", b"third", b"forth", b"fifth"]
        cuts = [None, -2, -5, -9, 3]
        for body, cut in zip(bodies, cuts, strict=True):
            _, instance = world.ask(get(), client)
            answer = ok(body)
            for piece in (answer[:cut], answer[cut:] if cut else b""):
                if piece:
                    instance.deliver(piece)
            self.assertEqual(parse(client.take())[2], body)
        self.assertEqual(len(world.instances.wires), 1)

    def test_debugHeaders(self):
        """They come only when asked for, and say how the request was handled."""
        world = World(debug=True)
        client, instance = world.ask()
        world.step(0.5)
        instance.deliver(ok())
        headers = dict(parse(client.take())[1])
        self.assertEqual(headers[b"x-waiter-service-id"], b"s")
        self.assertEqual(headers[b"x-waiter-backend-id"], b"s.1")
        self.assertEqual(headers[b"x-waiter-backend-port"], b"10001")
        self.assertEqual(headers[b"x-waiter-router-id"], b"r1")
        self.assertEqual(headers[b"x-waiter-queue-timeout-ms"], b"300000")
        self.assertEqual(headers[b"x-waiter-backend-response-ns"], b"500000000")
        self.assertEqual(headers[b"x-waiter-auth-user"], b"alice")
        self.assertEqual(
            headers[b"x-waiter-backend-log-url"],
            b"http://localhost:9091/apps/s/logs?instance-id=s.1&host=127.0.0.1",
        )
        client, instance = World().ask()
        instance.deliver(ok(b"", b"X-Waiter-Service-Id: forged"))
        self.assertNotIn(b"x-waiter", client.take().lower())

    def test_requestLog(self):
        """One record says what is known of the request."""
        world = World()
        _client, instance = world.ask(get(b"/p?q", b"User-Agent: me", b"Referer: there"))
        world.step(0.25)
        instance.deliver(ok(b"abc", b"Content-Type: text/x"))
        (record,) = world.log.records
        self.assertEqual(
            (record.method, record.path, record.query_string, record.host), ("GET", "/p", "q", SERVICE_HOST.decode())
        )
        self.assertEqual(
            (record.status, record.service_id, record.instance_id, record.principal), (200, "s", "s.1", "alice@EXAMPLE")
        )
        self.assertEqual((record.user_agent, record.referer, record.response_content_type), ("me", "there", "text/x"))
        self.assertEqual((record.response_content_length, record.request_type), (3, "proxy"))
        self.assertEqual(
            (record.get_instance_latency_ns, record.backend_response_latency_ns, record.handle_request_latency_ns),
            (0, 250000000, 250000000),
        )
        self.assertEqual(record.request_time, iso_time(WALL + 1000))
        self.assertEqual((record.remote_addr, record.scheme, record.client_protocol), ("127.0.0.1", "http", "HTTP/1.1"))
        self.assertIsNone(record.waiter_error_class)

    def test_theSameHeadersFromElsewhere(self):
        """What was made of them for one client is not told of another, unless it came the same way."""
        world = World()
        ways = [(f"10.0.0.{number}", port) for number in range(1, 4) for port in (9091, 9092)]
        for address, port in ways * 3:
            for _ in range(2):
                client = world.client(peer=(address, 50000), host=("10.0.0.9", port))
                for _ in range(2):
                    _, instance = world.ask(get(), client)
                    headers = parse(instance.take())[1]
                    instance.deliver(ok())
                    self.assertEqual(values(headers, b"x-forwarded-for"), [address.encode()])
                    self.assertEqual(values(headers, b"x-forwarded-port"), [b"%d" % port])
                    self.assertEqual(world.log.records[-1].remote_addr, address)

    def test_theLogOfOneClientsRequests(self):
        """What they have in common is written for each, and nothing else of the one before is."""
        world = World()
        client = world.client()
        for request, answer, expected in (
            (get(), ok(b"", b"Content-Type: a"), ("GET", 200, "a", None, None)),
            (get(), ok(b"", b"Content-Type: b"), ("GET", 200, "b", None, None)),
            (get(b"/", b"User-Agent: me"), ok(b"", b"Content-Type: b"), ("GET", 200, "b", "me", None)),
            (
                get(b"/", b"User-Agent: me"),
                b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
                ("GET", 404, None, "me", None),
            ),
            (post(b"x"), ok(), ("POST", 200, None, None, None)),
            (post(b"x"), b"nonsense\r\n\r\n", ("POST", 502, None, None, "InstanceFailed")),
        ):
            _, instance = world.ask(request, client)
            instance.deliver(answer)
            record = world.log.records[-1]
            self.assertEqual(
                (
                    record.method,
                    record.status,
                    record.response_content_type,
                    record.user_agent,
                    record.waiter_error_class,
                ),
                expected,
            )
