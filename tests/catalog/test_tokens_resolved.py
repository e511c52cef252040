"""L{waiter.catalog.resolver}, where tokens describe the service."""

from tests.catalog.test_resolver import HOST, ResolverTestCase, Services, headers
from tests.catalog.test_services import SlowStore
from tests.model.test_token import make_token
from waiter.catalog.memory import MemoryStore
from waiter.catalog.services import ServiceCatalog
from waiter.catalog.succession import Succession
from waiter.catalog.suspensions import SuspendedState
from waiter.catalog.validation import make_rules
from waiter.errors import BadRequest, Maintenance, NotFound, ServiceForbidden, ServiceMisconfigured, ServiceUnknown
from waiter.model.source import SourceToken
from waiter.model.token import USER_METADATA

NOW = 1_800_000_000.0
BASE = {"cmd": "./run", "cpus": 1, "mem": 64, "version": "1", "run-as-user": "alice", "owner": "alice"}


def token(name="demo", *, at=1.0, previous=None, **data):
    given = {**BASE, **{key.replace("_", "-"): value for key, value in data.items()}}
    given = {key: value for key, value in given.items() if value is not None}
    return make_token(name, data=given, updated_at=at, previous=previous)


def named(*names, **more):
    values = {"token": ",".join(names), **{key.replace("_", "-"): value for key, value in more.items()}}
    return tuple((f"x-waiter-{name}".encode(), value.encode()) for name, value in values.items())


class TokenTestCase(ResolverTestCase):
    def setUp(self):
        self.tokens = {}
        self.now = NOW
        self.healthy = set()
        self.exist = set()
        self.started = []
        self.noted = []
        self.suspended = {}
        super().setUp()

    def made(self, **kwargs):
        return super().made(
            tokens=self.tokens.get,
            suspended=self.suspended.get,
            note=lambda *news: self.noted.append(news),
            succession=Succession(
                healthy=self.healthy.__contains__,
                exists=self.exist.__contains__,
                start=lambda service: self.started.append(service.id),
            ),
            wall=lambda: self.now,
            **kwargs,
        )

    def have(self, *tokens):
        for each in tokens:
            self.tokens[each.name] = each
            self.resolver.forget_token(each.name)


class NamedTests(TokenTestCase):
    def test_aTokenDescribesTheService(self):
        self.have(token())
        descriptor = self.resolved(named("demo"))
        self.assertEqual(descriptor.service.core["cmd"], "./run")
        self.assertNotIn("owner", descriptor.service.core)
        self.assertEqual(descriptor.sources, (SourceToken("demo", self.tokens["demo"].etag),))
        self.assertEqual(self.noted, [(descriptor.service.id, descriptor.sources)])

    def test_itsServiceIsThatOfTheSameHeaders(self):
        self.have(token(permitted_user="alice"))
        headers = tuple(
            (f"x-waiter-{name}".encode(), str(value).encode()) for name, value in BASE.items() if name != "owner"
        )
        self.assertEqual(self.resolved(named("demo")).service.id, self.resolved(headers).service.id)

    def test_aHostNameMayBeAToken(self):
        self.have(token())
        by_name = self.resolved(named("demo"))
        self.assertIs(self.resolved((), host=b"demo:80").service, by_name.service)
        self.assertIs(self.resolved((), host=b"DEMO").service, by_name.service)

    def test_aHostNameWithoutATokenNamesNothing(self):
        self.refused(ServiceUnknown, (), host=b"demo")

    def test_missingAndDeletedTokensAreNotFound(self):
        self.tokens["gone"] = make_token("gone", deleted=True)
        for name in ("demo", "gone"):
            error = self.refused(NotFound, named(name))
            self.assertEqual(error.message, f"Token not found: {name}")
        self.refused(ServiceUnknown, (), host=b"gone")

    def test_aTokenIsNamedOnlyAtOwnHostsAndThoseOfTokens(self):
        """A name that was bent to this machine's address is neither."""
        self.have(token())
        self.refused(BadRequest, named("demo"), host=b"evil.example")
        self.resolved(named("demo"), host=b"demo")

    def test_laterTokensHoldAndMapsAreGathered(self):
        self.have(
            token("first", env={"A": "1", "B": "1"}, metadata={"x": "1"}, cpus=1),
            token("second", cmd=None, env={"B": "2"}, metadata={"y": "2"}, cpus=2),
        )
        descriptor = self.resolved(named("first", "second"))
        description = descriptor.service.description
        self.assertEqual((description.cmd, description.cpus), ("./run", 2))
        self.assertEqual((description.env, description.metadata), ({"A": "1", "B": "2"}, {"x": "1", "y": "2"}))
        self.assertEqual([source.token for source in descriptor.sources], ["first", "second"])
        self.assertEqual(descriptor.token, "first,second")

    def test_headersHoldOverTokensAndTheCallerRunsWhatTheyMake(self):
        self.have(token(run_as_user="bob", permitted_user="*", env={"A": "1"}))
        resolver = self.made(may_run_as=lambda *_: True)
        self.assertEqual(self.resolved(named("demo"), resolver=resolver).service.core["run-as-user"], "bob")
        core = self.resolved(named("demo", cpus="2", env_b="2"), resolver=resolver).service.core
        self.assertEqual((core["cpus"], core["env"]), (2, {"B": "2"}))
        self.assertEqual((core["run-as-user"], core["permitted-user"]), ("alice", "alice"))

    def test_paramsDoNotChangeWhoRunsIt(self):
        self.have(token(run_as_user="bob", allowed_params=["SIZE"], env={"A": "1"}))
        core = self.resolved(named("demo", param_size="2"), resolver=self.made(may_run_as=lambda *_: True)).service.core
        self.assertEqual(core["env"], {"A": "1", "SIZE": "2"})
        self.assertEqual((core["run-as-user"], core["permitted-user"]), ("bob", "alice"))
        self.assertRaises(BadRequest, self.resolver.resolve, HOST, named("demo", param_colour="red"))

    def test_whatATokenDoesNotSayItsProfileMaySay(self):
        rules = make_rules(
            profiles={"slow": {"queue-timeout-ms": 5000, "socket-timeout-ms": 6000, "allowed-params": ["SIZE"]}},
            token_metadata=USER_METADATA,
        )
        catalog = ServiceCatalog(self.store, rules=rules)
        self.successResultOf(catalog.startService())
        self.services = Services(catalog)
        resolver = self.made()
        self.have(token(profile="slow", socket_timeout_ms=7000), token("plain"))
        descriptor = self.resolved(named("demo", param_size="1"), resolver=resolver)
        self.assertEqual((descriptor.queue_timeout_secs, descriptor.socket_timeout_secs), (5, 7))
        self.assertEqual(descriptor.service.description.env, {"SIZE": "1"})
        self.assertNotEqual(self.resolved(named("plain"), resolver=resolver).queue_timeout_secs, 5)

    def test_whereNobodyIsSaidToRunItTheCallerDoes(self):
        self.have(token(run_as_user="*"), token("other", run_as_user=None))
        for name in ("demo", "other"):
            core = self.resolved(named(name)).service.core
            self.assertEqual((core["run-as-user"], core["permitted-user"]), ("alice", "alice"))

    def test_whoNamesSuchATokenByItsHostAloneHasToAgree(self):
        asked = []

        def consented(question, cookies):
            asked.append((question, cookies))
            return False

        self.resolver = self.made(consented=consented)
        self.have(token(run_as_user="*"), token("other", run_as_user=None), token("alices"))
        for name in ("demo", "other"):
            descriptor = self.resolved((), host=f"{name}:9091".encode())
            self.assertFalse(descriptor.conditions.consented([b"a=b"]))
            question, cookies = asked.pop()
            self.assertEqual(
                (question.token, question.owner, question.service_id), (name, "alice", descriptor.service.id)
            )
            self.assertEqual(cookies, [b"a=b"])
            self.assertIsNone(self.resolved(named(name)).conditions.consented)
            self.assertIsNone(self.resolved(headers(), host=name.encode()).conditions.consented)
        self.assertIsNone(self.resolved((), host=b"alices").conditions.consented)

    def test_whileOneHasToAgree_noServiceIsStartedAndNoneOfBeforeServes(self):
        before = token(run_as_user="*", at=NOW - 20)
        self.have(before)
        old = self.resolved((), host=b"demo").service.id
        self.healthy.add(old)
        self.have(token(run_as_user="*", cmd="./new", at=NOW - 10, previous=before))
        self.assertNotEqual(self.resolved((), host=b"demo").service.id, old)
        self.assertEqual(self.started, [])

    def test_whoeverWroteATokenWasAskedWhetherItMayRunSo(self):
        self.have(token(run_as_user="bob", permitted_user="*"), token("silent", run_as_user="bob"))
        self.resolved(named("demo"))
        self.assertRaises(ServiceForbidden, self.resolver.resolve, HOST, named("silent"))
        self.assertRaises(ServiceForbidden, self.resolver.resolve, HOST, named("demo", "demo"))
        self.assertRaises(ServiceForbidden, self.resolver.resolve, HOST, named("demo", run_as_user="bob"))

    def test_whoIsNotPermittedIsRefused(self):
        self.have(token(permitted_user="bob"))
        error = self.refused(ServiceForbidden, named("demo"))
        self.assertEqual(error.message, "This user isn't allowed to invoke this service")

    def test_whatATokenLacksIsSaid(self):
        self.have(token(cmd=None))
        error = self.refused(ServiceMisconfigured, named("demo"))
        self.assertIn("cmd must be a non-empty string.", str(error.details))

    def test_aServiceIsFoundByItsId(self):
        self.have(token())
        service = self.resolved(named("demo")).service
        descriptor = self.resolved(named(f"^SERVICE-ID#{service.id}"))
        self.assertIs(descriptor.service, service)
        self.assertEqual(descriptor.sources, ())
        self.assertEqual(len(self.noted), 1)
        self.assertRaises(NotFound, self.resolver.resolve, HOST, named("^SERVICE-ID#other"))
        self.assertRaises(ServiceUnknown, self.resolver.resolve, HOST, named(f"^SERVICE-ID#{service.id}", cpus="2"))

    def test_aTokenWithAServiceOfItsOwnTellsTheInstances(self):
        self.have(token(service_mapping="exclusive"), token("twin", service_mapping="exclusive"), token("third"))
        first, second, third = (self.resolved(named(name)).service for name in ("demo", "twin", "third"))
        self.assertEqual(len({first.id, second.id, third.id}), 3)
        self.assertEqual(first.core["env"], {"WAITER_CONFIG_TOKEN": "demo"})
        self.have(token(service_mapping="exclusive", env={"WAITER_CONFIG_TOKEN": "x"}))
        self.assertRaises(BadRequest, self.resolver.resolve, HOST, named("demo"))

    def test_maintenanceIsSaidBeforeAnythingElse(self):
        self.have(
            make_token("demo", data={"name": "shop", "maintenance": {"message": "back at noon"}, "owner": "alice"})
        )
        error = self.refused(Maintenance, named("demo"))
        self.assertEqual((error.status, error.message), (503, "back at noon"))
        self.assertEqual(error.members, {"name": "shop", "token": "demo", "token-owner": "alice"})

    def test_openServicesAreNotChangedByHeaders(self):
        self.have(token(authentication="disabled", permitted_user="*"))
        error = self.refused(BadRequest, named("demo", cpus="2"))
        self.assertIn("authentication disabled token", error.message)


class TimeoutTests(TokenTestCase):
    def test_headersThenTheTokenThenTheSettings(self):
        self.have(token(queue_timeout_ms=1000, socket_timeout_ms=2000))
        descriptor = self.resolved(named("demo", timeout="5000"))
        secs = (descriptor.queue_timeout_secs, descriptor.socket_timeout_secs, descriptor.streaming_timeout_secs)
        self.assertEqual(secs, (1.0, 5.0, 20.0))

    def test_zeroIsNoTimeToWaitButNoTimeout(self):
        self.have(token(queue_timeout_ms=0, socket_timeout_ms=0, streaming_timeout_ms=0))
        descriptor = self.resolved(named("demo"))
        secs = (descriptor.queue_timeout_secs, descriptor.socket_timeout_secs, descriptor.streaming_timeout_secs)
        self.assertEqual(secs, (0.0, 900.0, 20.0))


class ConditionTests(TokenTestCase):
    def test_whatATokenDemandsOfItsRequests(self):
        self.have(token(https_redirect=True, cors_rules=[{"origin-regex": ".*"}]))
        conditions = self.resolved(named("demo")).conditions
        self.assertTrue(conditions.https_only)
        self.assertEqual(len(conditions.cors_rules), 1)
        self.assertIsNone(conditions.suspended)

    def test_browsersSeeAPageOnlyWhereATokenSaysSo(self):
        self.have(token(interstitial_secs=60), token("other"))
        self.assertEqual(self.resolved(named("demo")).conditions.interstitial_secs, 60)
        self.assertEqual(self.resolved(named("other")).conditions.interstitial_secs, 0)
        given = {**BASE, "interstitial-secs": 60}
        by_headers = tuple((f"x-waiter-{k}".encode(), str(v).encode()) for k, v in given.items() if k != "owner")
        descriptor = self.resolved(by_headers)
        self.assertEqual(descriptor.service.description.interstitial_secs, 60)
        self.assertIsNone(descriptor.conditions)

    def test_withoutATokenThereAreNone(self):
        self.have(token())
        service = self.resolved(named("demo")).service
        headers = tuple((f"x-waiter-{k}".encode(), str(v).encode()) for k, v in BASE.items() if k != "owner")
        self.assertIsNone(self.resolved(headers).conditions)
        self.assertIsNotNone(self.resolved(named("demo")).conditions)
        self.assertIsNotNone(self.resolved(named(f"^SERVICE-ID#{service.id}")))

    def test_aSuspendedServiceIsKnownToBe(self):
        self.have(token())
        service = self.resolved(named("demo")).service
        self.suspended[service.id] = state = SuspendedState(suspended=True, by="bob", at=1.0)
        self.resolver.forget([service.id])
        self.assertIs(self.resolved(named("demo")).conditions.suspended, state)
        self.suspended[service.id] = SuspendedState(suspended=False, by="bob", at=2.0)
        self.resolver.forget([service.id])
        self.assertIsNone(self.resolved(named("demo")).conditions.suspended)


class RememberedTests(TokenTestCase):
    def test_theSecondTimeNothingIsDescribed(self):
        self.have(token())
        first = self.resolved(named("demo"))
        described = self.services.described
        self.tokens.clear()
        self.assertIs(self.resolver.resolve(HOST, named("demo")), first)
        self.assertEqual(self.services.described, described)

    def test_aChangedTokenIsFoundOutAnew(self):
        self.have(token(), token("other", version="other"))
        first, other = self.resolved(named("demo")), self.resolved(named("other"))
        self.have(token(version="2"))
        self.assertNotEqual(self.resolved(named("demo")).service.id, first.service.id)
        self.assertIs(self.resolver.resolve(HOST, named("other")), other)

    def test_whatIsLongForgottenTakesNoRoom(self):
        self.resolver = self.made(cache_size=4)
        for number in range(20):
            self.have(token(f"token{number}", version=str(number)))
            self.resolved(named(f"token{number}"))
        self.assertLessEqual(len(self.resolver._by_token), 4)
        self.have(token("token19", version="new"))
        self.assertEqual(self.resolved(named("token19")).service.core["version"], "new")
        self.have(token("token18", version="new"))
        self.assertEqual(self.resolved(named("token18")).service.core["version"], "new")

    def test_aTokenThatChangesWhileItsServiceIsStoredIsNotRemembered(self):
        self.store_type = SlowStore
        self.setUp()
        self.have(token())
        resolving = self.resolver.resolve(HOST, named("demo"))
        self.have(token(version="2"))
        ((_, gate),) = self.store.writes
        gate.callback(None)
        first = self.successResultOf(resolving)
        self.assertEqual(first.service.core["version"], "1")
        self.assertEqual(self.resolver.state()["cached"], 0)


class FallbackTests(TokenTestCase):
    store_type = MemoryStore

    def setUp(self):
        super().setUp()
        self.old = token(version="1")
        self.have(self.old)
        self.first = self.resolved(named("demo")).service.id
        self.healthy.add(self.first)

    def edit(self, version="2", **data):
        self.have(token(version=version, at=self.now, previous=self.tokens["demo"], **data))

    def served(self, **more):
        return self.resolved(named("demo", **more)).service.core["version"]

    def test_theVersionBeforeServesWhileTheNewOneStarts(self):
        self.edit()
        self.assertEqual(self.served(), "1")
        (newest,) = self.started
        self.exist.add(newest)
        self.assertEqual(self.served(), "1")
        self.assertEqual(self.started, [newest])
        self.healthy.add(newest)
        self.assertEqual(self.served(), "2")

    def test_whenTheTimeIsUpTheNewOneServesWhateverItIs(self):
        self.edit()
        self.now += 299
        self.assertEqual(self.served(), "1")
        self.now += 1
        self.assertEqual(self.served(), "2")
        self.assertEqual(self.resolver.state()["choices"], 0)

    def test_meanwhileManyKindsOfRequestsTakeNoMoreRoomThanOtherwise(self):
        self.resolver = self.made(cache_size=4)
        self.edit()
        for number in range(20):
            self.served(queue_timeout=str(1000 + number))
        self.assertLessEqual(len(self.resolver._by_token["demo"]), 4)
        self.edit("3")
        self.assertEqual((self.served(fallback_period_secs="0"), self.resolver.state()["choices"]), ("3", 0))

    def test_theTokenAndAboveItAHeaderSayHowLong(self):
        self.edit(fallback_period_secs=10)
        self.now += 10
        self.assertEqual(self.served(), "2")
        self.assertEqual(self.served(fallback_period_secs="20"), "1")
        self.assertEqual(self.served(fallback_period_secs="0"), "2")

    def test_theNewestOfThoseThatAreHealthyServes(self):
        self.edit("2")
        self.healthy.add(self.resolved(named("demo", fallback_period_secs="0")).service.id)
        self.edit("3")
        self.assertEqual(self.served(), "2")
        self.healthy = set()
        self.resolver = self.made()
        self.assertEqual(self.served(), "3")

    def test_aVersionThatDoesNotHoldIsPassedOver(self):
        self.edit("2", cmd=None)
        self.edit("3")
        self.assertEqual(self.served(), "1")

    def test_evenOneThatNobodyCouldHaveWritten(self):
        first = self.tokens["demo"]
        names = (
            "run_as_user",
            "allowed_params",
            "permitted_user",
            "env",
            "profile",
            "version",
            "namespace",
            "metadata",
        )
        names += ("cors_rules", "fallback_period_secs", "queue_timeout_ms", "service_mapping", "authentication", "cmd")
        for name in names:
            for value in (["x"], [["x"]], {"a": [1]}, 5, True, "*", "x", ""):
                for more in ({}, {"run_as_user": "*"}):
                    odd = token(**{"version": "odd", "at": 1.0, "previous": first, **more, name: value})
                    self.resolver.service_id_of(odd)
                    self.have(odd)
                    self.edit("3")
                    self.assertIn(self.served(), {"1", "3"})

    def test_whereRequestsGoMeanwhileIsKnown(self):
        def fallback():
            return self.resolver.fallback_of(self.tokens["demo"])

        self.assertIsNone(fallback())
        self.edit()
        self.assertEqual((fallback(), self.started), (self.first, []))
        self.now += 300
        self.assertIsNone(fallback())
        self.now -= 300
        self.healthy.add(self.resolved(named("demo", fallback_period_secs="0")).service.id)
        self.assertIsNone(fallback())

    def test_whoAsksForTheNewestGetsIt(self):
        self.edit()
        newest = self.successResultOf(self.resolver.resolve_newest(HOST, named("demo", fallback_period_secs="99")))
        self.assertEqual(newest.service.core["version"], "2")

    def test_ofSeveralTokensTheOneThatChangedLastStepsBack(self):
        self.have(token("second", cmd=None, env={"A": "1"}, version=None))
        self.healthy.add(self.resolved(named("demo", "second")).service.id)
        self.edit("2")
        descriptor = self.resolved(named("demo", "second"))
        self.assertEqual(descriptor.service.core["version"], "1")
        self.assertEqual(descriptor.service.core["env"], {"A": "1"})

    def test_whatWasSuspendedOrForgottenIsNotChosenFromMemory(self):
        self.edit()
        self.served()
        self.resolver.forget([self.first])
        self.assertEqual(self.resolver.state()["choices"], 0)
