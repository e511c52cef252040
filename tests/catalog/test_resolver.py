"""L{waiter.catalog.resolver}."""

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from tests.catalog.test_services import SlowStore
from waiter.catalog.descriptor import Descriptor
from waiter.catalog.hosts import own_hosts
from waiter.catalog.memory import MemoryStore
from waiter.catalog.resolver import Resolver, Timeouts, user_of
from waiter.catalog.services import ServiceCatalog
from waiter.catalog.validation import make_rules
from waiter.errors import (
    BadRequest,
    NotFound,
    ServiceForbidden,
    ServiceMisconfigured,
    ServiceUnavailable,
    ServiceUnknown,
)

HOST = b"localhost:9091"


def headers(**more):
    values = {"cmd": "run $PORT0", "version": "v1", "cpus": "0.1", "mem": "64"}
    values.update({name.replace("_", "-"): value for name, value in more.items()})
    return tuple((f"x-waiter-{name}".encode(), value.encode()) for name, value in values.items() if value is not None)


class Services:
    """Counts what is asked of the catalog behind."""

    def __init__(self, catalog):
        self._catalog = catalog
        self.described = 0

    def get(self, service_id):
        return self._catalog.get(service_id)

    def describe(self, core):
        self.described += 1
        return self._catalog.describe(core)

    @property
    def rules(self):
        return self._catalog.rules

    def remember(self, service):
        return self._catalog.remember(service)


class ResolverTestCase(SynchronousTestCase):
    store_type = MemoryStore

    def setUp(self):
        self.store = self.store_type()
        self.store.startService()
        catalog = ServiceCatalog(self.store)
        self.successResultOf(catalog.startService())
        self.services = Services(catalog)
        self.validated = []
        self.resolver = self.made()

    def made(self, **kwargs):
        arguments = {
            "own_hosts": own_hosts(),
            "principal": "alice@EXAMPLE",
            "timeouts": Timeouts(),
            "validate": self.validated.append,
            **kwargs,
        }
        return Resolver(self.services, **arguments)

    def resolved(self, waiter_headers=None, host=HOST, resolver=None):
        waiter_headers = headers() if waiter_headers is None else waiter_headers
        return self.successResultOf(maybeDeferred((resolver or self.resolver).resolve, host, waiter_headers))

    def refused(self, error_type, waiter_headers, host=HOST, resolver=None):
        error = self.assertRaises(error_type, (resolver or self.resolver).resolve, host, waiter_headers)
        self.assertEqual(self.validated, [])
        return error


class ServiceTests(ResolverTestCase):
    def test_headersDefineAService(self):
        descriptor = self.resolved(headers(name="demo", env_foo="bar"))
        description = descriptor.service.description
        self.assertEqual((description.cmd, description.cpus, description.mem), ("run $PORT0", 0.1, 64))
        self.assertEqual(description.env, {"FOO": "bar"})
        self.assertTrue(descriptor.service.id.startswith("waiter-service-demo-"))
        self.assertIs(self.services.get(descriptor.service.id), descriptor.service)
        self.assertEqual(descriptor.principal, "alice@EXAMPLE")

    def test_whoAsksRunsItAndMayUseIt(self):
        core = self.resolved().service.core
        self.assertEqual((core["run-as-user"], core["permitted-user"]), ("alice", "alice"))

    def test_whatIsSaidAboutUsersHolds(self):
        core = self.resolved(headers(run_as_user="alice", permitted_user="*")).service.core
        self.assertEqual((core["run-as-user"], core["permitted-user"]), ("alice", "*"))

    def test_aStarForUserOrNamespaceIsWhoAsks(self):
        core = self.resolved(headers(run_as_user="*", namespace="*")).service.core
        self.assertEqual((core["run-as-user"], core["namespace"]), ("alice", "alice"))
        error = self.refused_later(headers(run_as_user="*", namespace="bob"))
        self.assertEqual(error.message, "Cannot use run-as-requester with a specific namespace")

    def refused_later(self, waiter_headers):
        self.validated.clear()
        return self.refused(ServiceMisconfigured, waiter_headers)

    def test_paramsGoIntoTheEnvironment(self):
        descriptor = self.resolved(headers(allowed_params="SIZE,COLOUR", param_size="10", env_size="1", env_a="b"))
        self.assertEqual(descriptor.service.description.env, {"SIZE": "10", "A": "b"})

    def test_theDefaultsMayAllowParams(self):
        """Unless the request itself says which are allowed."""
        catalog = ServiceCatalog(self.store, rules=make_rules(defaults={"allowed-params": ["SIZE"]}))
        self.successResultOf(catalog.startService())
        self.services = Services(catalog)
        self.resolver = self.made()
        descriptor = self.resolved(headers(param_size="10"))
        self.assertEqual(descriptor.service.description.env, {"SIZE": "10"})
        self.validated.clear()
        error = self.refused(BadRequest, headers(param_colour="red"))
        self.assertEqual(error.details["allowed-params"], ["SIZE"])
        self.refused(BadRequest, headers(allowed_params="", param_size="10"))

    def test_whatIsForgottenIsFoundOutAnew(self):
        first, other = headers(), headers(version="v2")
        service = self.resolved(first).service
        kept = self.resolved(other)
        described = self.services.described
        self.resolver.forget({service.id})
        self.assertIs(self.resolved(other), kept)
        self.assertEqual(self.services.described, described)
        self.resolved(first)
        self.assertEqual(self.services.described, described + 1)

    def test_theUserIsTheFirstPartOfThePrincipal(self):
        for principal in ("alice@EXAMPLE", "alice/host@EXAMPLE", "alice"):
            self.assertEqual(user_of(principal), "alice")


class RefusalTests(ResolverTestCase):
    def test_nothingIdentifiesAService(self):
        for host in (HOST, b"mytoken", b"", b"a b"):
            for waiter_headers in (
                (),
                headers(cmd=None, version=None, cpus=None, mem=None, timeout="5", unheard_of="x"),
            ):
                error = self.refused(ServiceUnknown, waiter_headers, host)
                self.assertEqual(error.message, "Unable to identify service using waiter headers/token")

    def test_aTokenIsNotFound(self):
        error = self.refused(NotFound, headers(token="mine,yours"))
        self.assertEqual((error.status, error.message), (404, "Token not found: mine"))

    def test_aDescriptionToAnotherHostIsRefused(self):
        self.refused(BadRequest, headers(), b"rebound.example:9091")
        self.refused(BadRequest, headers(), b"a b")

    def test_aDescriptionThatDoesNotHold(self):
        error = self.refused(ServiceMisconfigured, headers(cpus="lots"))
        self.assertIn("cpus must be a positive number.", error.message)

    def test_headersThatCannotBeUnderstood(self):
        self.refused(BadRequest, (*headers(), (b"x-waiter-cmd", b"again")))

    def test_paramsThatAreNotAllowed(self):
        for more in ({"param_x": "1"}, {"param_x": "1", "allowed_params": "Y"}, {"param_x": "1", "allowed_params": ""}):
            error = self.refused(BadRequest, headers(**more))
            self.assertEqual(error.message, "Some params cannot be configured")
            self.assertEqual(error.details["params"], ["X"])

    def test_anotherUserToRunAs(self):
        error = self.refused(ServiceForbidden, headers(run_as_user="root"))
        self.assertEqual((error.status, error.message), (403, "alice cannot run as user 'root'"))

    def test_whenTheRuleAllowsIt_anotherUserMayBeRunAs(self):
        resolver = self.made(may_run_as=lambda user, run_as_user: (user, run_as_user) == ("alice", "bob"))
        descriptor = self.resolved(headers(run_as_user="bob"), resolver=resolver)
        self.assertEqual(descriptor.service.description.run_as_user, "bob")

    def test_whoIsNotPermitted(self):
        error = self.refused(ServiceForbidden, headers(permitted_user="bob"))
        self.assertEqual((error.status, error.message), (403, "This user isn't allowed to invoke this service"))

    def test_whatTheSchedulerCannotRun(self):
        def validate(description):
            raise BadRequest("too big")

        resolver = self.made(validate=validate)
        self.assertEqual(self.refused(BadRequest, headers(), resolver=resolver).message, "too big")
        self.assertEqual(self.successResultOf(self.store.keys("")), [])

    def test_refusalsAreNotRemembered(self):
        allowed = []

        def validate(description):
            if not allowed:
                raise BadRequest("not now")

        resolver = self.made(validate=validate)
        self.refused(BadRequest, headers(), resolver=resolver)
        allowed.append(True)
        self.assertIsInstance(self.resolved(resolver=resolver), Descriptor)


class PropertyTests(ResolverTestCase):
    def timeouts(self, **more):
        descriptor = self.resolved(headers(**more))
        return descriptor.queue_timeout_secs, descriptor.socket_timeout_secs, descriptor.streaming_timeout_secs

    def test_timeoutsAreAsConfiguredOrAsAsked(self):
        self.assertEqual(self.timeouts(), (300, 900, 20))
        self.assertEqual(self.timeouts(queue_timeout="1500"), (1.5, 900, 20))
        self.assertEqual(self.timeouts(timeout="1500"), (300, 1.5, 20))
        self.assertEqual(self.timeouts(streaming_timeout="1500"), (300, 900, 1.5))
        self.assertEqual(
            self.timeouts(queue_timeout="junk", timeout="0", streaming_timeout="9999999"), (300, 900, 3600)
        )

    def test_timeoutsMakeNoOtherService(self):
        self.assertIs(self.resolved(headers(timeout="1")).service, self.resolved(headers(queue_timeout="2")).service)
        self.assertEqual(len(self.validated), 1)

    def test_debugging(self):
        self.assertFalse(self.resolved().debug)
        self.assertTrue(self.resolved(headers(debug="")).debug)


class RememberedTests(ResolverTestCase):
    def test_theSecondTimeNothingIsDescribed(self):
        first = self.resolved()
        self.assertIs(self.resolver.resolve(HOST, headers()), first)
        self.assertEqual(self.services.described, 1)
        self.assertEqual(self.resolver.state(), {"cached": 1, "choices": 0})

    def test_hostAndHeadersBothCount(self):
        self.resolved()
        self.assertRaises(BadRequest, self.resolver.resolve, b"mytoken", headers())
        self.assertNotEqual(self.resolved(headers(version="v2")).service.id, self.resolved().service.id)

    def test_aKnownServiceIsAnsweredAtOnceAndNotValidatedAgain(self):
        self.resolved()
        self.assertIsInstance(self.resolver.resolve(b"127.0.0.1", headers()), Descriptor)
        self.assertEqual(len(self.validated), 1)

    def test_itHoldsNoMoreThanItsSize(self):
        resolver = self.made(cache_size=10)
        for i in range(100):
            self.resolved(headers(timeout=str(i)), resolver=resolver)
            self.assertLessEqual(resolver.state()["cached"], 10)

    def test_whatIsInUseStays(self):
        resolver = self.made(cache_size=10)
        self.resolved(resolver=resolver)
        for i in range(100):
            self.resolved(headers(timeout=str(i)), resolver=resolver)
            self.services.described = 0
            self.resolved(resolver=resolver)
            self.assertEqual(self.services.described, 0)

    def test_hugeHeadersAreNotKept(self):
        huge = headers(metadata="{" + " " * 9000 + "}")
        self.resolved(huge)
        self.resolved(huge)
        self.assertEqual((self.services.described, self.resolver.state()), (2, {"cached": 0, "choices": 0}))


class FirstRequestsTests(ResolverTestCase):
    """What happens while a new service is being stored."""

    store_type = SlowStore

    def test_requestsForTheSameServiceShareOneWrite(self):
        waits = [self.resolver.resolve(HOST, headers(timeout=str(i % 2))) for i in range(6)]
        for wait in waits:
            self.assertIsInstance(wait, Deferred)
            self.assertNoResult(wait)
        [(_, gate)] = self.store.writes
        gate.callback(None)
        self.assertEqual(len({id(self.successResultOf(wait).service) for wait in waits}), 1)
        self.assertIsInstance(self.resolver.resolve(HOST, headers()), Descriptor)

    def test_whenOneIsCancelled_theOthersGoOn(self):
        one, other = self.resolver.resolve(HOST, headers()), self.resolver.resolve(HOST, headers())
        one.cancel()
        self.failureResultOf(one, CancelledError)
        self.store.writes[0][1].callback(None)
        self.assertIsInstance(self.successResultOf(other), Descriptor)

    def test_whenItCannotBeStored_theRequestFailsAndTheNextTriesAgain(self):
        wait = self.resolver.resolve(HOST, headers())
        self.store.writes[0][1].errback(OSError("disk"))
        self.failureResultOf(wait, ServiceUnavailable)
        self.flushLoggedErrors(OSError)
        again = self.resolver.resolve(HOST, headers())
        self.store.writes[1][1].callback(None)
        self.assertIsInstance(self.successResultOf(again), Descriptor)
