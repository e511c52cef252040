"""Between Marathon's JSON and Waiter's values."""

import json

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.doubles.marathon.definition import problems
from tests.scheduler.marathon.examples import DEPLOYMENT, LISTED_APP
from waiter.model.description import ServiceDescription
from waiter.model.instance import Flag
from waiter.model.service import Service
from waiter.scheduler.marathon.translation import (
    Place,
    actions,
    affects,
    app_json,
    is_healthy,
    locking_deployments,
    old_stop,
    read_app,
    read_failure,
    read_time,
    scale_json,
    service_id_of,
    what_happened,
    words,
)

PLACE = Place(directory="/slaves", framework_id="framework-0000")
ID = "waiter-service-a"


def service(**parameters):
    core = {"cmd": "./run $PORT0", "cpus": 0.5, "mem": 256, "run-as-user": "alice", "version": "1"} | {
        key.replace("_", "-"): value for key, value in parameters.items()
    }
    return Service(id=ID, core=core, description=ServiceDescription.model_validate(core))


def posted(**parameters):
    return app_json(service(**parameters), cluster="east", password="secret")


class AppToPostTests(SynchronousTestCase):
    def test_itIsWhatMarathonTakes(self):
        self.assertEqual(
            posted(),
            {
                "id": "/waiter-service-a",
                "args": ["/bin/bash", "-c", "./run $PORT0"],
                "backoffFactor": 2,
                "cpus": 0.5,
                "disk": 0,
                "env": {
                    "HOME": "/home/alice",
                    "LOGNAME": "alice",
                    "USER": "alice",
                    "WAITER_CLUSTER": "east",
                    "WAITER_CONCURRENCY_LEVEL": "1",
                    "WAITER_CPUS": "0.5",
                    "WAITER_MEM_MB": "256",
                    "WAITER_PASSWORD": "secret",
                    "WAITER_SERVICE_ID": "waiter-service-a",
                    "WAITER_USERNAME": "waiter",
                },
                "healthChecks": [
                    {
                        "protocol": "HTTP",
                        "path": "/status",
                        "gracePeriodSeconds": 30,
                        "intervalSeconds": 10,
                        "portIndex": 0,
                        "timeoutSeconds": 20,
                        "maxConsecutiveFailures": 5,
                    }
                ],
                "labels": {"source": "waiter", "user": "alice"},
                "mem": 256.0,
                "ports": [0],
                "user": "alice",
            },
        )

    def test_theNumberOfInstancesIsLeftToMarathon(self):
        self.assertNotIn("instances", posted(min_instances=5))

    def test_whenThereIsAGracePeriodForTheEndMarathonIsTold(self):
        self.assertEqual(posted(termination_grace_period_secs=7)["taskKillGracePeriodSeconds"], 7)

    def test_whenAnInstanceMayTakeForEverItMayTakeTwiceItsLife(self):
        check = posted(grace_period_secs=0, instance_expiry_mins=10)["healthChecks"][0]
        self.assertEqual(check["gracePeriodSeconds"], 1200)

    def test_whenTheCheckHasAPortAndAProtocolOfItsOwnTheyAreTold(self):
        check = posted(ports=3, health_check_port_index=2, health_check_proto="https")["healthChecks"][0]
        self.assertEqual((check["portIndex"], check["protocol"]), (2, "HTTPS"))
        self.assertEqual(posted(backend_proto="https")["healthChecks"][0]["protocol"], "HTTPS")

    def test_whatTheDescriptionSaysOfTheEnvironmentIsThere(self):
        env = posted(env={"A": "b", "WAITER_CONFIG_TOKEN": "t"}, metric_group="group")["env"]
        self.assertEqual((env["A"], env["WAITER_TOKEN"], env["WAITER_METRIC_GROUP"]), ("b", "t", "group"))
        self.assertNotIn("WAITER_CONFIG_TOKEN", env)

    def test_theNamespaceIsALabel(self):
        self.assertEqual(posted(namespace="alice")["labels"]["namespace"], "alice")

    def test_whatRunsTheCommandCanBeChosen(self):
        app = app_json(service(), cluster="east", password="", init_commands=["waiter-mesos-init"], home_prefix="/u/")
        self.assertEqual(app["args"], ["waiter-mesos-init", "./run $PORT0"])
        self.assertEqual(app["env"]["HOME"], "/u/alice")

    @given(
        cmd=st.text(min_size=1, max_size=50).filter(
            lambda text: text.strip() and "\0" not in text and text.isprintable()
        ),
        cpus=st.floats(min_value=0.01, max_value=32),
        mem=st.integers(min_value=1, max_value=131072),
        ports=st.integers(min_value=1, max_value=10),
        grace=st.integers(min_value=0, max_value=3600),
        expiry=st.integers(min_value=0, max_value=2**31 - 1),
        factor=st.floats(min_value=1, max_value=1000),
        end=st.integers(min_value=0, max_value=300),
        env=st.dictionaries(st.from_regex(r"A[A-Z]{0,5}", fullmatch=True), st.text("xyz", min_size=1), max_size=4),
    )
    def test_whateverIsDescribedFulfilsThePublishedRules(self, cmd, cpus, mem, ports, grace, expiry, factor, end, env):
        app = posted(
            cmd=cmd,
            cpus=cpus,
            mem=mem,
            ports=ports,
            health_check_port_index=ports - 1,
            grace_period_secs=grace,
            instance_expiry_mins=expiry,
            restart_backoff_factor=factor,
            termination_grace_period_secs=end,
            env=env,
        )
        self.assertEqual(problems(json.loads(json.dumps(app)), whole=True), [])


class ListedAppTests(SynchronousTestCase):
    def test_anAppIsReadWithItsTasks(self):
        app = read_app(LISTED_APP, ID, place=PLACE)
        self.assertEqual((app.service_id, app.instances, app.cpus, app.mem), (ID, 3, 0.1, 5))
        self.assertEqual(app.deployments, ("9538079c-3898-4e32-aa31-799bf9097f74",))
        running, staged = app.tasks
        self.assertEqual(running.id, "waiter-service-a.083be411-5d1f-11e5-88f7-56b91e7a505b")
        self.assertEqual((running.host, running.port, running.extra_ports), ("srv4.example.com", 31292, (31293,)))
        self.assertEqual((running.started_at, running.healthy), (1442482362.598, True))
        self.assertEqual(
            running.log_directory,
            f"/slaves/20150707-S0/frameworks/framework-0000/executors/{running.id}/runs/latest",
        )
        self.assertEqual((staged.host, staged.port, staged.started_at), ("0.0.0.0", 0, None))
        self.assertEqual((staged.healthy, staged.log_directory), (None, None))

    def test_itsLastFailureIsAFailedInstance(self):
        failure = read_app(LISTED_APP, ID, place=PLACE).failure
        self.assertEqual(failure.id, "waiter-service-a.0664256e-6771-11e5-94e1-be5b2935a987")
        self.assertEqual((failure.healthy, failure.port, failure.exit_code), (False, 0, 127))
        self.assertEqual((failure.started_at, failure.host), (1443617085.681, "srv5.example.com"))

    def test_whatIsAsItWasIsTheSameObject(self):
        before = read_app(LISTED_APP, ID, place=PLACE)
        after = read_app(LISTED_APP, ID, place=PLACE, known={task.id: task for task in before.tasks})
        self.assertIs(after.tasks[0], before.tasks[0])
        other = attrs.evolve(before.tasks[0], port=1)
        after = read_app(LISTED_APP, ID, place=PLACE, known={other.id: other})
        self.assertEqual(after.tasks[0].port, 31292)

    def test_whatIsNoAppIsNotUnderstood(self):
        for wrong in (
            {},
            {"instances": None},
            {"instances": 1, "tasks": [{}]},
            {"instances": 1, "tasks": ["text"]},
            {"instances": 1, "tasks": [{"id": "a", "ports": ["x"]}]},
            {"instances": 1, "lastTaskFailure": {"message": "no task"}},
            {"instances": 1, "deployments": [{}]},
        ):
            with self.assertRaises(ValueError):
                read_app(wrong, ID, place=PLACE)

    def test_onlyAppsWithThePrefixAreServices(self):
        for app_id, found in (
            ("/waiter-service-a", ID),
            ("waiter-service-a", ID),
            ("/group/waiter-service-a", None),
            ("/waiter-service-a/part", None),
            ("/other", None),
            (None, None),
            (7, None),
        ):
            self.assertEqual(service_id_of(app_id, "waiter-service-"), found, app_id)

    def test_whatIsPutToScaleIsWhatWasGotAndTheNumber(self):
        app = {"id": "/a", "cmd": "run", "cpus": 1, "mem": 2, "env": {}, "instances": 1}
        self.assertEqual(scale_json(app, 5), {"id": "/a", "cmd": "run", "cpus": 1, "mem": 2, "instances": 5})
        self.assertNotIn("cmd", scale_json({**app, "cmd": None}, 5))


class HealthTests(SynchronousTestCase):
    def test_itIsHealthyIfAllChecksSayThatItIsAndNoneHasFailedLately(self):
        good = {"alive": True, "consecutiveFailures": 0}
        for results, healthy in (
            ([], False),
            ([good], True),
            ([good, good], True),
            ([good, {"alive": False, "consecutiveFailures": 1}], False),
            ([{"alive": True, "consecutiveFailures": 1}], False),
            ([None], False),
            ([good, None], False),
        ):
            self.assertIs(is_healthy(results), healthy, results)


class FailureTests(SynchronousTestCase):
    def test_mesosWordsAreUnderstood(self):
        for message, flags, exit_code in (
            ("Command exited with status 3", set(), 3),
            ("Command exited with status -1", set(), -1),
            ("Command exited with status unknown", set(), None),
            ("Memory limit exceeded: Requested: 64MB Maximum Used: 64MB", {Flag.MEMORY_LIMIT_EXCEEDED}, None),
            ("Task was killed since health check failed. Reason: 500", {Flag.NEVER_PASSED_HEALTH_CHECKS}, None),
            ("Command terminated with signal Killed", set(), None),
            ("", set(), None),
        ):
            self.assertEqual(what_happened(message), (frozenset(flags), exit_code), message)

    def test_whatMesosSaysIsToldUnlessTheExitCodeSaysIt(self):
        told = {"Command exited with status 3": None, "Command terminated with signal Killed": "by the signal Killed"}
        for message, part in told.items():
            found = read_failure({"taskId": "a.1", "message": message}, ID, place=PLACE).message
            self.assertTrue(found is part is None or part in found, found)

    @given(st.text())
    def test_noWordsAreTooStrange(self, message):
        failure = read_failure({"taskId": "a.1", "message": message}, ID, place=PLACE)
        self.assertTrue(failure.message is None or len(failure.message) < 600)

    def test_slashesAreNotPartOfAnInstanceId(self):
        self.assertEqual(read_failure({"taskId": "/a/b.1"}, ID, place=PLACE).id, "ab.1")

    @given(st.one_of(st.none(), st.integers(), st.text()))
    def test_whatIsNoTimeIsNone(self, text):
        found = read_time(text)
        self.assertTrue(found is None or isinstance(found, float))


class DeploymentTests(SynchronousTestCase):
    def test_oldOnesThatStopAnAppAreRecognised(self):
        began = read_time(DEPLOYMENT["version"])
        self.assertFalse(old_stop(DEPLOYMENT, now=began + 300, older_than_secs=300))
        self.assertTrue(old_stop(DEPLOYMENT, now=began + 301, older_than_secs=300))
        scaling = {**DEPLOYMENT, "steps": [], "currentActions": [{"action": "ScaleApplication"}]}
        self.assertFalse(old_stop(scaling, now=began + 301, older_than_secs=300))
        self.assertFalse(old_stop({**DEPLOYMENT, "version": None}, now=began + 301, older_than_secs=300))

    def test_stepsOfOldMarathonsAreListsOfActions(self):
        self.assertEqual(actions({"steps": [[{"action": "StartApplication"}]]}), {"StartApplication"})

    def test_theAppsThatOneChangesAreKnown(self):
        self.assertTrue(affects(DEPLOYMENT, ID))
        self.assertFalse(affects(DEPLOYMENT, "waiter-service-b"))
        self.assertFalse(affects({}, ID))

    def test_aRefusalNamesThem(self):
        self.assertEqual(locking_deployments({"message": "locked", "deployments": [{"id": "d"}]}), ["d"])
        for nothing in (None, [], {}, {"deployments": None}, {"deployments": [7, {}]}):
            self.assertEqual(locking_deployments(nothing), [])

    def test_errorsAreToldInOneLine(self):
        answer = {"message": "Object is not valid", "details": [{"path": "/id", "errors": ["must match", "too long"]}]}
        self.assertEqual(words(answer), "Object is not valid /id: must match, too long")
        self.assertEqual(words(None), "")
