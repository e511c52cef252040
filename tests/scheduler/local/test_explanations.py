"""The words in which failures are explained."""

import errno

from twisted.trial.unittest import SynchronousTestCase

from waiter.scheduler.health import answered, unanswered
from waiter.scheduler.local.explanations import (
    exceeded,
    exited,
    never_passed,
    no_longer_healthy,
    not_healthy_yet,
    waits_for,
    with_lack_of_room,
)
from waiter.scheduler.local.interface import Excess
from waiter.scheduler.local.listening import ListeningSocket

URL = "http://127.0.0.1:14321/status"
REFUSED = unanswered(URL, "connect-exception", connected=False, reason="was refused: nothing listens on that port")


class ExitTests(SynchronousTestCase):
    def test_aCommandThatIsNotThereIsNamedAsSuch(self):
        explanation = exited(127, age_secs=0.04, was_healthy=False)
        self.assertEqual(
            explanation.fact,
            "The command ended with exit code 127 (the command was not found) 0.0 s after its start, before it passed a "
            "health check.",
        )
        self.assertIn("PATH", explanation.advice)

    def test_aFileThatIsNotExecutableIsToBeMadeSo(self):
        explanation = exited(126, age_secs=1, was_healthy=False)
        self.assertIn("exit code 126 (the command is not executable)", explanation.fact)
        self.assertIn("Make the file executable", explanation.advice)

    def test_aSignalIsNamed(self):
        killed = exited(137, age_secs=1, was_healthy=True)
        self.assertIn("exit code 137 (ended by SIGKILL)", killed.fact)
        self.assertIn("look for who kills processes", killed.advice)
        crashed = exited(139, age_secs=1, was_healthy=True)
        self.assertIn("exit code 139 (ended by SIGSEGV)", crashed.fact)
        self.assertIn("Its last output may tell why", crashed.advice)
        self.assertIn("exit code 255 ", exited(255, age_secs=1, was_healthy=True).fact)

    def test_whenTheKernelKilledForLackOfMemoryThatIsSaidOfWhatWasKilled(self):
        for code in (137, None):
            killed = exited(code, age_secs=1, was_healthy=True, kernel_kills=True)
            self.assertIn("the kernel killed a process for lack of memory: most likely this one", killed.fact)
            self.assertIn("mem", killed.advice)
        for code in (0, 1, 127, 143):
            self.assertNotIn("kernel", exited(code, age_secs=1, was_healthy=True, kernel_kills=True).fact)

    def test_whoExceedsALimitIsToldWhatItUsedAndWhatItMay(self):
        alone = exceeded(Excess(mem_mib=130.4, processes=1, most_mem_mib=64))
        self.assertEqual(alone.fact, "Its process used 130 MiB of memory, and mem allows 64 MiB, so it was killed.")
        self.assertIn("x-waiter-mem", alone.advice)
        self.assertIn("Its 3 processes together", exceeded(Excess(mem_mib=130, processes=3, most_mem_mib=64)).fact)
        many = exceeded(Excess(mem_mib=10, processes=21, most_processes=20))
        self.assertEqual(many.fact, "It had 21 processes, and an instance may have 20, so it was killed.")
        self.assertIn("max-processes", many.advice)

    def test_aCommandThatGoesToTheBackgroundIsToldToStay(self):
        self.assertIn("foreground", exited(0, age_secs=1, was_healthy=False).advice)
        self.assertIn("foreground", exited(0, age_secs=1, was_healthy=True, left_behind=True).advice)

    def test_anUnknownExitCodeIsCalledUnknown(self):
        self.assertIn("an unknown exit code", exited(None, age_secs=1, was_healthy=True).fact)

    def test_aSilentCommandIsNotSaidToHaveWritten(self):
        self.assertIn("It wrote nothing", exited(3, age_secs=1, was_healthy=False, has_output=False).advice)


class NeverPassedTests(SynchronousTestCase):
    def explain(self, check=REFUSED, *listeners):
        return never_passed(
            grace_secs=30,
            check=check,
            port_name="$PORT0",
            port=14321,
            listeners=[ListeningSocket(address=address, port=port) for address, port in listeners],
        )

    def test_theWholeTextIsOneFactAndOneAdvice(self):
        self.assertEqual(
            str(self.explain(REFUSED, ("0.0.0.0", 8000))),
            "It did not pass a health check within 30 s (grace-period-secs). It listens on port 8000 instead of $PORT0 "
            "(14321). Give the command $PORT0 as the port to listen on.",
        )

    def test_aPortIsNamedOnceHoweverManyAddressesItHas(self):
        self.assertIn("on port 8000 instead", self.explain(REFUSED, ("0.0.0.0", 8000), ("::", 8000)).fact)
        self.assertIn("on ports 80, 8000 instead", self.explain(REFUSED, ("::", 80), ("::", 8000)).fact)

    def test_theWrongInterfaceIsNamed(self):
        for address, shown in (("127.0.0.2", "127.0.0.2 port 14321"), ("::1", "[::1] port 14321")):
            explanation = self.explain(REFUSED, (address, 14321), ("0.0.0.0", 9999))
            self.assertIn(f"It listens on {shown} only; Waiter connects to 127.0.0.1.", explanation.fact)
            self.assertIn("127.0.0.1, or on 0.0.0.0", explanation.advice)

    def test_everyAddressOfIPv6AloneIsNotReached(self):
        self.assertIn("[::] port 14321 only for IPv6", self.explain(REFUSED, ("::", 14321)).fact)

    def test_whatListensAtLastIsTooSlow(self):
        self.assertIn("Raise grace-period-secs", self.explain(REFUSED, ("0.0.0.0", 14321)).advice)

    def test_whereNothingListensBothReasonsAreNamed(self):
        explanation = self.explain()
        self.assertIn("Nothing listened on $PORT0 (14321).", explanation.fact)
        self.assertIn("must listen on port $PORT0", explanation.advice)
        self.assertIn("raise grace-period-secs", explanation.advice)

    def test_aWrongAnswerIsQuotedWithItsBody(self):
        explanation = self.explain(answered(URL, 404, "<h1>nothing here</h1>"))
        self.assertIn(f'GET {URL} was answered with 404: "<h1>nothing here</h1>".', explanation.fact)

    def test_eachKindOfAnswerHasItsAdvice(self):
        self.assertIn("health-check-authentication to standard", self.explain(answered(URL, 401)).advice)
        self.assertIn("Redirects are not followed", self.explain(answered(URL, 302)).advice)
        self.assertIn("Find out why", self.explain(answered(URL, 500)).advice)
        self.assertIn("a path that the service answers", self.explain(answered(URL, 404)).advice)

    def test_whatDoesNotSpeakHTTPIsTold(self):
        for error in ("hangup-exception", "generic-exception"):
            self.assertIn("plain HTTP/1", self.explain(unanswered(URL, error, connected=True, reason="x")).advice)
        self.assertIn("speak TLS", self.explain(unanswered(URL, "ssl-exception", connected=True, reason="x")).advice)
        silent = unanswered(URL, "timeout-exception", connected=True, reason="was not answered within 5 s")
        self.assertIn("answered at once", self.explain(silent).advice)

    def test_aQueueThatIsFullIsNotCalledTooSlowAStart(self):
        full = unanswered(URL, "timeout-exception", connected=False, reason="was not answered to the connection")
        self.assertIn("was not answered", self.explain(full, ("127.0.0.1", 14321)).fact)


class OtherTests(SynchronousTestCase):
    def test_whatStopsBeingHealthyIsToldWithItsLastCheck(self):
        explanation = no_longer_healthy(failures=5, secs=61.2, check=REFUSED)
        self.assertIn("5 health checks in a row over 61 s", explanation.fact)
        self.assertIn("was refused", explanation.fact)

    def test_onlyWhatWillHardlyPassByItselfIsAdvisedUponBeforeTheEnd(self):
        for status in (302, 401, 404):
            seen = not_healthy_yet(answered(URL, status))
            self.assertIn(f"was answered with {status}", seen.fact)
            self.assertIn("health-check-url", seen.advice)
        self.assertEqual(not_healthy_yet(answered(URL, 503)).advice, "")
        self.assertEqual(not_healthy_yet(REFUSED).advice, "")

    def test_aFullDiskComesBeforeOtherAdvice(self):
        explanation = with_lack_of_room(exited(1, age_secs=1, was_healthy=False), "The disk is full: 0 KiB are free")
        self.assertIn("exit code 1", explanation.fact)
        self.assertIn("The disk is full: 0 KiB are free.", explanation.fact)
        self.assertTrue(explanation.advice.startswith("Make room there"))

    def test_whatTheMachineLacksForAWhileIsWaitedFor(self):
        for number, what in (
            (errno.ENOSPC, "disk space"),
            (errno.EDQUOT, "disk space"),
            (errno.EMFILE, "file descriptors"),
            (errno.ENFILE, "file descriptors"),
            (errno.EAGAIN, "processes"),
            (errno.ENOMEM, "memory"),
        ):
            text = waits_for(OSError(number, "the system's words"))
            self.assertTrue(text.startswith(f"Waits for {what}: "), text)
            self.assertIn("the system's words", text)
            self.assertIn("To end the wait, ", text)

    def test_whatStaysWrongIsNotWaitedFor(self):
        self.assertIsNone(waits_for(PermissionError(errno.EACCES, "Permission denied")))
        self.assertIsNone(waits_for(ValueError("embedded null byte")))
