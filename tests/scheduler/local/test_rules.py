"""The pure rules of the local scheduler."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.scheduler.local.fakes import service
from waiter.errors import ServiceForbidden
from waiter.scheduler.environment import service_password
from waiter.scheduler.local.backoff import Backoff
from waiter.scheduler.local.environment import instance_environment, without_secrets
from waiter.scheduler.local.validation import check_runs_here
from waiter.scheduler.probing import FailedChecks, starting_pause


class StartingPauseTests(SynchronousTestCase):
    @given(st.floats(min_value=0, max_value=3600))
    def test_anInstanceIsNoticedSoonAfterItBecomesHealthy(self, ready_at):
        now = 0.005
        while now < ready_at:
            now += starting_pause(now)
        self.assertLessEqual(now - ready_at, max(0.005, min(1.0, 0.08 * ready_at)) + 1e-6)

    def test_aMinuteOfStartingTakesNoMoreThanAHundredAndFiftyChecks(self):
        now, checks = 0.005, 0
        while now < 60:
            now += starting_pause(now)
            checks += 1
        self.assertLess(checks, 150)


class FailedChecksTests(SynchronousTestCase):
    def too_many(self, times):
        checks = FailedChecks()
        for now in times:
            checks = checks.another(now)
        return checks.too_many(times[-1], interval_secs=10, max_failures=3)

    def test_failuresMustSpanTheTimeThatChecksAtTheIntervalWouldTake(self):
        self.assertFalse(self.too_many([5, 6, 7, 8]))
        self.assertTrue(self.too_many([5, 6, 7, 25]))

    def test_fewFailuresAreNotEnoughHoweverLongTheyLast(self):
        self.assertFalse(self.too_many([0, 100]))

    def test_oneFailureIsEnoughWhereOneIsAllowed(self):
        self.assertTrue(FailedChecks().another(3).too_many(3, interval_secs=10, max_failures=1))


class BackoffTests(SynchronousTestCase):
    def test_pausesGrowByTheFactorUpToAMinute(self):
        backoff, now, pauses = Backoff(2), 100.0, []
        for _ in range(11):
            backoff.failed(now, started_at=now)
            pauses.append(round(backoff.remaining_secs(now), 3))
            now += 1000
        self.assertEqual(pauses, [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60, 60])

    def test_instancesOfOneBatchLengthenThePauseOnce(self):
        backoff = Backoff(2)
        for _ in range(5):
            backoff.failed(10.0, started_at=9.0)
        self.assertAlmostEqual(backoff.remaining_secs(10.0), 0.2)

    def test_aHealthyInstanceEndsThePauses(self):
        backoff = Backoff(3)
        backoff.failed(1, started_at=1)
        backoff.failed(2, started_at=2)
        backoff.healthy(2)
        self.assertEqual(backoff.remaining_secs(2), 0)

    def test_whenAnInstanceHasWorkedForAWhileTheFirstPauseComesNext(self):
        backoff = Backoff(3)
        backoff.failed(1, started_at=1)
        backoff.failed(2, started_at=2)
        backoff.healthy(3)
        backoff.failed(13, started_at=2.5)
        self.assertAlmostEqual(backoff.remaining_secs(13), 0.2)

    def test_whenInstancesFailSoonAfterTheyWereHealthyThePausesGrow(self):
        backoff, now, pauses = Backoff(2), 0.0, []
        for _ in range(10):
            backoff.healthy(now + 1)
            backoff.failed(now + 2, started_at=now)
            pauses.append(round(backoff.remaining_secs(now + 2), 3))
            now += 100
        self.assertEqual(pauses, [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60])

    def test_anOldInstanceThatFailsLongAfterTheTroubleOfOthersWaitsTheFirstPause(self):
        backoff = Backoff(10)
        for now in (100, 101, 102):
            backoff.failed(now, started_at=now)
        backoff.healthy(130)
        backoff.failed(1000, started_at=0)
        self.assertAlmostEqual(backoff.remaining_secs(1000), 0.2)

    @given(st.floats(min_value=1, max_value=100), st.integers(min_value=1, max_value=60))
    def test_noPauseIsLongerThanAMinute(self, factor, failures):
        backoff = Backoff(factor)
        for now in range(failures):
            backoff.failed(now, started_at=now)
        self.assertLessEqual(backoff.remaining_secs(failures - 1), 60)
        self.assertGreaterEqual(backoff.remaining_secs(failures - 1), 0.2 - 1e-9)


class EnvironmentTests(SynchronousTestCase):
    def environment(self, parent=None, **parameters):
        described = service(env={"COLOUR": "blue", "PATH": "/opt", "WAITER_CONFIG_TOKEN": "t"}, **parameters)
        return instance_environment(
            described.description,
            parent={"PATH": "/bin", "LANG": "C", "LC_ALL": "C.UTF-8", "TZ": "UTC", "AWS_SECRET": "x", "HOME": "/root"}
            if parent is None
            else parent,
            cluster="here",
            service_id=described.id,
            instance_id=f"{described.id}.1",
            ports=(10001, 10002),
            home="/home/tester",
            sandbox="/work",
            password="secret",
        )

    def test_onlyTheNamedVariablesAreInherited(self):
        environment = self.environment()
        self.assertNotIn("AWS_SECRET", environment)
        self.assertEqual([environment[name] for name in ("LANG", "LC_ALL", "TZ")], ["C", "C.UTF-8", "UTC"])

    def test_theDescriptionWinsOverWhatIsInherited(self):
        environment = self.environment()
        self.assertEqual((environment["COLOUR"], environment["PATH"]), ("blue", "/opt"))

    def test_waiterSaysWhoAndWhereTheInstanceIs(self):
        environment = self.environment(concurrency_level=3, cpus=0.1, mem=128, metric_group="blue")
        expected = {
            "HOME": "/home/tester",
            "LOGNAME": "tester",
            "USER": "tester",
            "MESOS_SANDBOX": "/work",
            "WAITER_SANDBOX": "/work",
            "WAITER_CLUSTER": "here",
            "WAITER_CONCURRENCY_LEVEL": "3",
            "WAITER_CPUS": "0.1",
            "WAITER_MEM_MB": "128",
            "WAITER_METRIC_GROUP": "blue",
            "WAITER_PASSWORD": "secret",
            "WAITER_SERVICE_ID": "waiter-service-a",
            "WAITER_INSTANCE_ID": "waiter-service-a.1",
            "WAITER_USERNAME": "waiter",
            "WAITER_TOKEN": "t",
            "PORT": "10001",
            "PORT0": "10001",
            "PORT1": "10002",
        }
        self.assertEqual({name: environment.get(name) for name in expected}, expected)
        self.assertNotIn("WAITER_CONFIG_TOKEN", environment)

    def test_thereIsAlwaysAPath(self):
        described = service()
        environment = instance_environment(
            described.description,
            parent={},
            cluster="",
            service_id="a",
            instance_id="a.1",
            ports=(),
            home="/home/tester",
            sandbox="/",
            password="",
        )
        self.assertIn("/bin", environment["PATH"])

    def test_passwordsDifferByServiceAndStayTheSame(self):
        self.assertEqual(service_password(b"s", "a"), service_password(b"s", "a"))
        self.assertNotEqual(service_password(b"s", "a"), service_password(b"s", "b"))
        self.assertNotEqual(service_password(b"s", "a"), service_password(b"t", "a"))

    def test_thePasswordIsNotWrittenToDisk(self):
        self.assertEqual(without_secrets({"WAITER_PASSWORD": "x", "A": "b"}), {"A": "b"})


class ValidationTests(SynchronousTestCase):
    def check(self, privileged=False, **parameters):
        check_runs_here(
            service(**parameters).description,
            user="tester",
            privileged=privileged,
            exists=lambda name: name in {"tester", "alice"},
        )

    def test_aPlainServiceRuns(self):
        self.check()
        self.check(privileged=True)

    def test_anotherUserIsRefused(self):
        error = self.assertRaises(ServiceForbidden, self.check, run_as_user="alice")
        self.assertEqual(error.status, 403)
        self.assertIn("cannot run as user 'alice'", error.message)
        self.assertIn("Leave run-as-user out", error.message)

    def test_rootMayRunServicesAsAnyUserThereIs(self):
        self.check(privileged=True, run_as_user="alice")
        error = self.assertRaises(ServiceForbidden, self.check, privileged=True, run_as_user="bob")
        self.assertEqual(error.message, "cannot run as user 'bob': there is no such user on this machine")

    def test_aUsersNumberIsNotAName(self):
        error = self.assertRaises(ServiceForbidden, self.check, privileged=True, run_as_user="1000")
        self.assertIn("the user's name, not the number", error.message)
