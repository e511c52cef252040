"""Instances that let in only Waiter."""

from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.integration.harness import RunningWaiter, service_headers

GATEKEEPER = (Path(__file__).parent / "gatekeeper.py").absolute()


class CredentialsTests(TestCase):
    timeout = 120

    def headers(self, **parameters):
        # Nothing but /status is open to everybody there.
        return service_headers(f"exec python3 {GATEKEEPER} $PORT0", health_check_url="/inside", **parameters)

    async def test_anInstanceIsCheckedWithItsPasswordWhereItWantsThat(self):
        waiter = await RunningWaiter(self).start()
        knowing = self.headers(health_check_authentication="standard")
        self.assertEqual((await waiter.request("/", headers=knowing)).code, 200)
        unknown = self.headers(grace_period_secs=300)
        answer = await waiter.request("/", headers=unknown)
        self.assertEqual(answer.code, 503)
        self.assertIn(b"401", answer.body)
