"""Conclusions from failed instances: the original's golden vectors, every rule in its place, and the words users get."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.discovery.deployment_errors import MESSAGES, deployment_error, instability_issue
from waiter.model.description import ServiceDescription
from waiter.model.instance import Flag, Instance

DESCRIPTION = ServiceDescription(cmd="serve", cpus=1, mem=128, run_as_user="u", version="1", health_check_url="/up")
ONE_MACHINE = {"min-hosts": 1}


def instance(number=0, *flags: Flag, host: str | None = None, **more) -> Instance:
    """An instance on a host of its own."""
    return Instance(
        id=f"s.{number}",
        service_id="s",
        started_at=float(number),
        host=host or f"host{number}",
        port=10000 + number,
        flags=frozenset(flags),
        **more,
    )


def key(*, healthy=(), unhealthy=(), failed=(), **more):
    error = deployment_error(healthy=healthy, unhealthy=unhealthy, failed=failed, description=DESCRIPTION, **more)
    return error and error.key


CONNECTED = Flag.HAS_CONNECTED
RESPONDED = Flag.HAS_RESPONDED
NEVER = Flag.NEVER_PASSED_HEALTH_CHECKS
MEMORY = Flag.MEMORY_LIMIT_EXCEEDED
PROCESSES = Flag.PROCESS_LIMIT_EXCEEDED
TLS = Flag.SSL_EXCEPTION
TIMEOUT = Flag.TIMEOUT_EXCEPTION
HANGUP = Flag.HANGUP_EXCEPTION


class GoldenTests(SynchronousTestCase):
    """The original's vectors."""

    def test_two_out_of_memory_with_equal_exit_codes_lack_memory(self):
        failed = [instance(number, MEMORY, exit_code=137) for number in range(2)]
        self.assertEqual(key(failed=failed), "not-enough-memory")

    def test_one_failure_proves_nothing(self):
        self.assertIsNone(key(failed=[instance(0, exit_code=1)]))

    def test_failures_of_two_kinds_prove_nothing(self):
        failed = [instance(0, CONNECTED, RESPONDED, exit_code=1), instance(1, CONNECTED, RESPONDED, MEMORY)]
        self.assertIsNone(key(failed=failed))

    def test_when_the_first_unhealthy_one_did_not_answer_401_it_proves_nothing(self):
        unhealthy = [instance(0, health_check_status=400), instance(1, health_check_status=401)]
        self.assertIsNone(key(unhealthy=unhealthy))

    def test_failures_come_before_a_401(self):
        failed = [instance(number, exit_code=1) for number in range(2)]
        self.assertEqual(key(unhealthy=[instance(2, health_check_status=401)], failed=failed), "bad-startup-command")


class RuleTests(SynchronousTestCase):
    """Every rule, and what comes before it."""

    def check(self, expected, *flag_sets, exit_codes=(None, None)):
        failed = [instance(number, *flags, exit_code=exit_codes[number]) for number, flags in enumerate(flag_sets)]
        self.assertEqual(key(failed=failed), expected)

    def test_memory(self):
        self.check("not-enough-memory", {MEMORY, TLS}, {MEMORY})
        self.check("cannot-connect", {MEMORY}, set())

    def test_processes(self):
        self.check("too-many-processes", {PROCESSES}, {PROCESSES}, exit_codes=(137, 137))
        self.check("cannot-connect", {PROCESSES}, {MEMORY})

    def test_exit_codes(self):
        self.check("bad-startup-command", {TLS}, {TLS}, exit_codes=(0, 0))
        self.check("cannot-connect", set(), set(), exit_codes=(1, 2))
        self.check("cannot-connect", set(), set(), exit_codes=(1, None))
        self.check("cannot-connect", set(), set(), exit_codes=(None, 1))

    def test_tls(self):
        self.check("tls-error", {TLS}, {TLS, CONNECTED, RESPONDED})
        self.check("cannot-connect", {TLS}, set())

    def test_connections(self):
        self.check("cannot-connect", {TIMEOUT}, {NEVER})
        self.check("bad-socket", {CONNECTED}, set())

    def test_answers(self):
        self.check("health-check-timed-out", {CONNECTED, TIMEOUT}, {CONNECTED, TIMEOUT})
        self.check("bad-socket", {CONNECTED, TIMEOUT}, {CONNECTED, HANGUP})
        self.check(None, {CONNECTED, RESPONDED}, {CONNECTED})

    def test_checks_never_passed(self):
        self.check("invalid-health-check-response", {CONNECTED, RESPONDED, NEVER}, {CONNECTED, RESPONDED, NEVER})
        self.check(None, {CONNECTED, RESPONDED, NEVER}, {CONNECTED, RESPONDED})

    def test_when_the_first_unhealthy_one_answered_401_no_failure_is_needed(self):
        self.assertEqual(key(unhealthy=[instance(0, health_check_status=401)]), "health-check-requires-authentication")

    def test_when_failures_prove_nothing_a_401_still_does(self):
        self.assertEqual(
            key(unhealthy=[instance(1, health_check_status=401)], failed=[instance(0, exit_code=1)]),
            "health-check-requires-authentication",
        )

    def test_when_one_host_is_not_enough_failures_on_it_prove_nothing(self):
        failed = [instance(number, exit_code=1, host="h") for number in range(3)]
        self.assertIsNone(key(failed=failed))
        self.assertEqual(key(failed=failed, config=ONE_MACHINE), "bad-startup-command")
        self.assertIsNone(key(failed=failed, config={"min-hosts": 1, "min-failed-instances": 4}))

    def test_when_the_scheduler_demands_nothing_no_failure_is_still_no_error(self):
        self.assertIsNone(key(config={"min-hosts": 0, "min-failed-instances": 0}))

    def test_when_the_scheduler_knows_the_key_it_is_believed(self):
        self.assertEqual(key(supplied="tls-error"), "tls-error")

    def test_when_the_scheduler_has_its_own_words_they_are_passed_on(self):
        error = deployment_error(
            healthy=(), unhealthy=(), failed=(), description=DESCRIPTION, supplied="The disk is full"
        )
        self.assertEqual((error.key, error.message, error.explanation), ("scheduler-error", "The disk is full", ""))

    @given(
        st.lists(st.tuples(st.sets(st.sampled_from(Flag)), st.none() | st.integers(-9, 255)), max_size=4),
        st.none() | st.text(),
    )
    def test_while_an_instance_is_healthy_there_is_no_error(self, kinds, supplied):
        failed = [instance(number, *flags, exit_code=code) for number, (flags, code) in enumerate(kinds)]
        self.assertIsNone(key(healthy=[instance(9)], failed=failed, supplied=supplied))

    @given(st.lists(st.tuples(st.sets(st.sampled_from(Flag)), st.none() | st.integers(-9, 255)), max_size=4))
    def test_when_there_is_an_error_it_has_its_text(self, kinds):
        failed = [instance(number, *flags, exit_code=code) for number, (flags, code) in enumerate(kinds)]
        error = deployment_error(healthy=(), unhealthy=(), failed=failed, description=DESCRIPTION)
        if len(failed) < 2:
            self.assertIsNone(error)
        elif error is not None:
            self.assertEqual(error.message, MESSAGES[error.key])
            self.assertIn(f"{len(failed)} instances failed", error.explanation)


class ExplanationTests(SynchronousTestCase):
    """The words a user gets."""

    def explain(self, *, unhealthy=(), failed=(), **more):
        return deployment_error(
            healthy=(), unhealthy=unhealthy, failed=failed, description=DESCRIPTION, config=ONE_MACHINE, **more
        ).explanation

    def test_when_the_command_is_wrong_the_last_instance_speaks(self):
        failed = [
            instance(0, exit_code=127, last_output=("old",)),
            instance(1, exit_code=127, last_output=("starting", "sh: 1: srve: not found")),
        ]
        self.assertEqual(
            self.explain(failed=failed),
            "2 instances failed, the last one on host1 port 10001.\n"
            "It ended with exit code 127 (the shell did not find the command).\n"
            "Try cmd in a shell of its own; it must stay in the foreground and serve on $PORT0.\n"
            "Its last output:\n"
            "    starting\n"
            "    sh: 1: srve: not found",
        )

    def test_when_the_message_names_the_exit_code_it_is_not_said_twice(self):
        failed = [instance(number, exit_code=3, message="It left with exit code 3.") for number in range(2)]
        self.assertEqual(self.explain(failed=failed).count("exit code"), 1)

    def test_when_the_check_got_a_wrong_answer_its_path_and_status_are_named(self):
        failed = [instance(number, CONNECTED, RESPONDED, NEVER, health_check_status=404) for number in range(2)]
        self.assertIn("GET /up over http was answered with 404", self.explain(failed=failed))

    def test_when_the_check_wants_credentials_the_waiting_instance_speaks(self):
        waiting = [instance(0, health_check_status=401)]
        text = self.explain(unhealthy=waiting)
        self.assertIn("GET /up over http was answered with 401", text)
        self.assertNotIn("failed", text)

    def test_when_nothing_listens_the_port_and_the_time_are_named(self):
        text = self.explain(failed=[instance(0), instance(1)])
        self.assertIn("$PORT0", text)
        self.assertIn("grace-period-secs, now 30", text)

    def test_when_memory_lacks_the_limit_is_named(self):
        failed = [instance(number, MEMORY, exit_code=137) for number in range(2)]
        text = self.explain(failed=failed)
        self.assertIn("128 MiB", text)
        self.assertIn("signal 9", text)

    def test_when_the_instance_itself_gives_advice_there_is_no_other(self):
        told = {"message": "It used 300 MiB of memory, so it was killed.", "advice": "Ask for more with mem."}
        failed = [instance(number, MEMORY, exit_code=137, last_output=("big",), **told) for number in range(2)]
        self.assertEqual(
            self.explain(failed=failed),
            "2 instances failed, the last one on host1 port 10001.\n"
            "It used 300 MiB of memory, so it was killed.\n"
            "Ask for more with mem.\n"
            "Its last output:\n"
            "    big",
        )

    def test_what_is_told_in_words_is_there_as_data(self):
        failed = [instance(number, exit_code=127, last_output=("not found",)) for number in range(2)]
        facts = deployment_error(
            healthy=(), unhealthy=(), failed=failed, description=DESCRIPTION, config=ONE_MACHINE
        ).facts
        self.assertEqual((facts["id"], facts["exit-code"], facts["last-output"]), ("s.1", 127, ["not found"]))
        self.assertEqual((facts["host"], facts["port"], facts["flags"]), ("host1", 10001, []))
        self.assertIn("exit code 127", facts["message"])
        self.assertIn("foreground", facts["advice"])

    def test_when_the_output_is_long_only_its_end_is_shown(self):
        output = (*(f"line {number}" for number in range(50)), "x" * 5000)
        text = self.explain(failed=[instance(number, exit_code=1, last_output=output) for number in range(2)])
        self.assertNotIn("line 40\n", text)
        self.assertIn("line 41\n", text)
        self.assertLess(len(text), 1000)

    def test_every_key_has_advice(self):
        for name in MESSAGES:
            witness = {"failed": [instance(0)], "unhealthy": [instance(0)]}
            with_advice = self.explain(supplied=name, **witness)
            self.assertGreater(len(with_advice), len(self.explain(supplied="words", **witness)), name)


class InstabilityTests(SynchronousTestCase):
    def test_one_that_ran_out_of_memory_is_enough(self):
        self.assertEqual(instability_issue([instance(0), instance(1, MEMORY)]), "not-enough-memory")

    def test_otherwise_there_is_none(self):
        self.assertIsNone(instability_issue([instance(0, TLS)]))
        self.assertIsNone(instability_issue([]))
