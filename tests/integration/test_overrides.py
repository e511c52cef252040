"""Parameters that are changed while a service runs."""

import signal

from twisted.trial.unittest import TestCase

from tests.integration.harness import RunningWaiter, service_headers, until


class OverrideTests(TestCase):
    timeout = 120

    async def test_theyHoldAtOnceAndForTheNextServer(self):
        headers = service_headers()
        waiter = await RunningWaiter(self).start()
        self.assertEqual((await waiter.request("/", headers=headers)).code, 200)
        service_id = await waiter.service_id(headers)
        path = f"/apps/{service_id}/override"
        answer = await waiter.request(path, method="POST", data=b'{"min-instances": 2, "concurrency-level": 7}')
        self.assertEqual(answer.code, 200, answer.body)
        await until(lambda: waiter.active_instances(service_id), lambda active: len(active) == 2)
        self.assertEqual(await waiter.service_id(headers), service_id)
        await waiter.stop(signal.SIGTERM)

        again = await RunningWaiter(self, state=waiter.state, port=waiter.port).start()
        shown = await again.api(path)
        self.assertEqual(shown["overrides"], {"concurrency-level": 7, "min-instances": 2})
        self.assertEqual((await again.request("/", headers=headers)).code, 200)
        await until(lambda: again.active_instances(service_id), lambda active: len(active) == 2)
        effective = await again.api(f"/apps/{service_id}?effective-parameters=true")
        self.assertEqual(effective["effective-parameters"]["concurrency-level"], 7)
