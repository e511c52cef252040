"""Browsers that see a page while a service starts."""

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.reservation.making import make_service, make_state, routing
from tests.router.world import WALL, World, get, ok, parse, post, values
from waiter.catalog.descriptor import Conditions
from waiter.catalog.suspensions import SuspendedState
from waiter.errors import ServiceFailing, ShuttingDown
from waiter.model.routing import DeploymentError
from waiter.model.source import SourceToken
from waiter.router.interstitials import Interstitials

HTML = b"Accept: text/html,*/*;q=0.8"
UPGRADE = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: eA==")


class RememberedTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.interstitials = Interstitials(self.clock)
        self.service = make_service(interstitial_secs=10)

    def know(self, *states):
        self.interstitials.update(routing(*states))

    def awaited(self, service_id="s"):
        return self.interstitials.awaited(service_id, 10)

    def promises(self):
        return self.interstitials.state()["interstitial"]["service-id->interstitial-promise"]

    def test_asLongAsNothingIsKnown_nobodyWaits(self):
        self.assertFalse(self.awaited())
        self.assertEqual(
            self.interstitials.state(),
            {"interstitial": {"initialized?": False, "service-id->interstitial-promise": {}}},
        )
        self.know()
        self.assertTrue(self.awaited())
        self.assertIs(self.interstitials.state()["interstitial"]["initialized?"], True)

    def test_theFirstHealthyInstanceEndsTheWaiting(self):
        self.know(make_state(self.service, unhealthy=["1"]))
        self.assertTrue(self.awaited())
        self.assertEqual(self.promises(), {"s": "not-realized"})
        self.know(make_state(self.service, {"1": 1}))
        self.assertFalse(self.awaited())
        self.assertEqual(self.promises(), {"s": "healthy-instance-found"})
        # Whoever has used it knows it; he waits for another instance as he would for an answer.
        self.know(make_state(self.service))
        self.clock.advance(100)
        self.assertFalse(self.awaited())
        self.assertEqual(self.promises(), {"s": "healthy-instance-found"})

    def test_timeEndsIt_fromTheFirstRequestOn(self):
        self.know()
        self.assertTrue(self.awaited())
        self.clock.advance(9)
        self.know(make_state(self.service))
        self.assertTrue(self.awaited())
        self.clock.advance(1)
        self.assertFalse(self.awaited())
        self.know(make_state(self.service, {"1": 1}))
        self.assertEqual(self.promises(), {"s": "interstitial-timeout"})

    def test_timeEndsIt_fromTheFirstSightOn(self):
        self.know(make_state(self.service))
        self.clock.advance(10)
        self.assertFalse(self.awaited())

    def test_aServiceThatComesBackIsWaitedForAgain(self):
        self.know(make_state(self.service, {"1": 1}))
        self.know()
        self.assertEqual(self.promises(), {})
        self.assertTrue(self.awaited())

    def test_whatIsNotDecidedOutlivesTheService(self):
        self.know(make_state(self.service))
        self.know()
        self.assertEqual(self.promises(), {"s": "not-realized"})
        self.clock.advance(10)
        self.know()
        self.assertEqual(self.promises(), {})

    def test_servicesWithoutItAreNotRemembered(self):
        self.know(make_state(make_service("t"), {"1": 1}))
        self.assertEqual(self.promises(), {})

    def test_servicesThatNeverComeTakeNoRoom(self):
        self.know()
        for number in range(1000):
            self.awaited(f"service-{number}")
            self.clock.advance(1)
        self.assertLess(len(self.promises()), 100)


class WantedTests(SynchronousTestCase):
    def setUp(self):
        self.w = World(instances=0)
        self.wanted = []
        self.w.reservers.demands.subscribe(self.wanted.append)

    def test_itIsStartedWithoutAPlaceInTheQueue(self):
        self.w.reservers.reserver(self.w.service).want()
        self.assertEqual(self.wanted, ["s"])
        load = self.w.reserver.load
        self.assertEqual((load.waiting, load.outstanding, load.last_request_at), (0, 0, self.w.clock.seconds()))
        self.w.reservers.update(routing())
        self.assertIsNone(self.w.reservers.find("s"))

    def test_whatIsGoneIsAskedForAnew(self):
        reserver = self.w.reservers.reserver(self.w.service)
        self.w.reservers.update(routing())
        self.assertTrue(reserver.retired)
        reserver.want()
        self.assertEqual(self.wanted, ["s"])

    def test_whatCannotBeServedIsNotStarted(self):
        error = DeploymentError(key="bad-startup-command", message="Invalid startup command")
        self.w.reservers.update(routing(make_state(self.w.service, deployment_error=error)))
        self.assertRaises(ServiceFailing, self.w.reserver.want)
        self.w.reservers.stopService()
        self.assertRaises(ShuttingDown, self.w.reserver.want)
        self.assertEqual(self.wanted, [])


class RedirectTests(SynchronousTestCase):
    def setUp(self):
        self.w = World(instances=0)
        self.wanted = []
        self.w.reservers.demands.subscribe(self.wanted.append)
        self.interstitials = self.w.interstitials
        self.interstitials.update(routing())
        self.conditions(interstitial_secs=10)

    def conditions(self, **conditions):
        self.w.catalogue.descriptor = attrs.evolve(
            self.w.catalogue.descriptor, sources=(SourceToken("demo", "E-1"),), conditions=Conditions(**conditions)
        )

    def sent(self, request):
        """What is answered at once."""
        client = self.w.client()
        client.deliver(request)
        self.w.step()
        answer = client.take()
        client.reset()
        self.w.step()
        return answer

    def assertWaits(self, request):
        self.assertEqual(self.sent(request), b"")
        self.w.check_idle(self)

    def test_browsersAreSentToThePage_andTheServiceIsStarted(self):
        for request in (
            get(b"/a?b=c", HTML),
            get(b"/a?b=c", b"Accept: TEXT/HTML"),
            get(b"/a?b=c", HTML).replace(b"GET", b"HEAD"),
        ):
            self.wanted.clear()
            first, headers, body = parse(self.sent(request))
            self.assertEqual((first, body), (b"HTTP/1.1 303 See Other", b""))
            self.assertEqual(values(headers, b"location"), [b"/waiter-interstitial/a?b=c"])
            self.assertEqual(values(headers, b"x-waiter-interstitial"), [b"true"])
            self.assertEqual(self.wanted, ["s"])
            self.w.check_idle(self)
        record = self.w.log.records[-1]
        self.assertEqual((record.status, record.token, record.service_id), (303, "demo", "s"))
        self.assertEqual(self.w.numbers.interstitials, 3)
        self.assertEqual(self.w.numbers.status, {303: 3})

    def test_othersWait(self):
        self.assertWaits(post(b"x", HTML, target=b"/a?b=c"))
        for request in (get(b"/"), get(b"/", b"Accept: */*"), get(b"/", HTML, *UPGRADE), get(b"//b", HTML)):
            self.assertWaits(request)
        self.assertEqual(self.w.numbers.interstitials, 0)

    def test_whereItIsNotWanted_nobodyIsSentThere(self):
        self.conditions()
        self.assertWaits(get(b"/", HTML))
        self.w.catalogue.descriptor = attrs.evolve(self.w.catalogue.descriptor, conditions=None)
        self.assertWaits(get(b"/", HTML))

    def test_beforeTheWorldIsKnown_nobodyIsSentThere(self):
        self.w.factory._parts.interstitials = Interstitials(self.w.clock)
        self.assertWaits(get(b"/", HTML))

    def test_afterSomeTimeTheyWait(self):
        self.assertIn(b"303", self.sent(get(b"/", HTML)))
        self.w.step(9)
        self.assertIn(b"303", self.sent(get(b"/", HTML)))
        self.w.step(1)
        self.assertWaits(get(b"/", HTML))

    def test_whoComesFromThePageWaits_forTenSeconds(self):
        now_ms = int((WALL + self.w.clock.seconds()) * 1000)
        for until_ms, sent_back in ((now_ms, False), (now_ms + 10000, False), (now_ms - 1, True)):
            request = get(b"/a?b=c&x-waiter-bypass-interstitial=%d" % until_ms, HTML)
            if sent_back:
                self.assertIn(b"location: /waiter-interstitial/a?b=c&x-waiter-bypass", self.sent(request))
            else:
                self.assertWaits(request)
        self.assertIn(b"303", self.sent(get(b"/?x-waiter-bypass-interstitial=%d&a=b" % (now_ms + 10000), HTML)))

    def test_theInstanceDoesNotSeeWhatThePageAdded(self):
        self.w.run_instances(1)
        self.interstitials.update(routing(make_state(make_service(interstitial_secs=10), {"1": 1})))
        for target, seen in (
            (b"/a?b=c&x-waiter-bypass-interstitial=12", b"/a?b=c"),
            (b"/a?x-waiter-bypass-interstitial=12", b"/a"),
            (b"/a?x-waiter-bypass-interstitial=12&b=c", b"/a?x-waiter-bypass-interstitial=12&b=c"),
        ):
            for more in ((HTML,), ()):
                client, instance = self.w.ask(get(target, *more))
                self.assertTrue(instance.take().startswith(b"GET %b HTTP/1.1\r\n" % seen))
                instance.deliver(ok())
                self.w.step()
                self.assertIn(b"200 OK", client.take())
        self.conditions()
        _, instance = self.w.ask(get(b"/a?x-waiter-bypass-interstitial=12", HTML))
        self.assertIn(b"GET /a?x-waiter-bypass-interstitial=12 HTTP/1.1", instance.take())

    def test_whoWaitsIsServedByTheFirstInstance(self):
        until_ms = int((WALL + self.w.clock.seconds() + 10) * 1000)
        client = self.w.client()
        client.deliver(get(b"/?x-waiter-bypass-interstitial=%d" % until_ms, HTML))
        self.w.step()
        self.w.run_instances(1)
        self.w.step()
        self.assertTrue(self.w.instances.last.take().startswith(b"GET / HTTP/1.1\r\n"))

    def test_whatIsSuspendedOrFailingSaysSo(self):
        self.conditions(interstitial_secs=10, suspended=SuspendedState(suspended=True, by="bob", at=1.0))
        self.assertIn(b"503", self.sent(get(b"/", HTML)))
        self.conditions(interstitial_secs=10)
        error = DeploymentError(key="bad-startup-command", message="Invalid startup command")
        self.w.reservers.update(routing(make_state(self.w.service, deployment_error=error)))
        answer = self.sent(get(b"/", HTML))
        self.assertIn(b"503", answer)
        self.assertIn(b"Invalid startup command", answer)
        self.assertEqual((self.wanted, self.w.numbers.interstitials), ([], 0))
        self.w.check_idle(self)
