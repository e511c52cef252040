"""Requests by tokens, at a real server with real instances."""

from twisted.trial.unittest import TestCase

from tests.integration.harness import HTTP_SERVER, RunningWaiter, until
from waiter.support.users import own_user


class TokenTests(TestCase):
    timeout = 240

    async def setUp(self):
        self.waiter = await RunningWaiter(self).start()

    async def post(self, name="demo", cmd=HTTP_SERVER, **data):
        await self.waiter.post_token(name, cmd, **data)

    async def ask(self, name="demo", **headers):
        """Returns the status and which service answered."""
        sent = {"x-waiter-token": name, "x-waiter-debug": "1", **headers}
        answer = await self.waiter.request("/", headers={key: [value] for key, value in sent.items()})
        return answer.code, answer.header("x-waiter-service-id")

    async def service_ids(self):
        return [each["service-id"] for each in await self.waiter.api("/apps?token=demo")]

    async def test_theOldVersionServesUntilTheNewOneCan_andGoesThen(self):
        await self.post()
        code, first = await self.ask()
        self.assertEqual(code, 200)
        gate = self.waiter.state / "gate"
        # The new version starts when the test says so.
        await self.post(cmd=f"while [ ! -e {gate} ]; do sleep 0.1; done; {HTTP_SERVER}", stale_timeout_mins=0)
        self.assertEqual(await self.ask(), (200, first))
        newest = await self.waiter.request("/service-id?latest=true", headers={"x-waiter-token": ["demo"]})
        second = newest.body.decode()
        self.assertNotEqual(first, second)
        await until(self.service_ids, lambda found: sorted(found) == sorted([first, second]))
        self.assertEqual(await self.ask(), (200, first))
        gate.touch()
        await until(self.ask, lambda answer: answer == (200, second))
        shown = await self.waiter.api(f"/apps/{second}")
        self.assertEqual([source["token"] for (source,) in shown["source-tokens"]], ["demo"])
        self.assertEqual(shown["current-for-tokens"], ["demo"])
        # Nobody can fall back any more to what was before.
        await self.post(
            cmd=f"while [ ! -e {gate} ]; do sleep 0.1; done; {HTTP_SERVER}",
            stale_timeout_mins=0,
            fallback_period_secs=0,
        )
        await until(self.service_ids, lambda found: first not in found, within_secs=60)
        self.assertEqual(await self.ask(), (200, second))

    async def test_hostsAreTokensAndHeadersHoldOverThem(self):
        await self.post("demo.example", run_as_user=own_user(), permitted_user="*")
        answer = await self.waiter.request("/", headers={"host": ["demo.example"], "x-waiter-debug": ["1"]})
        self.assertEqual(answer.code, 200)
        by_host = answer.header("x-waiter-service-id")
        self.assertEqual(await self.ask("demo.example"), (200, by_host))
        code, other = await self.ask("demo.example", **{"x-waiter-version": "v2"})
        self.assertEqual(code, 200)
        self.assertNotEqual(other, by_host)
        self.assertEqual(await self.ask(f"^SERVICE-ID#{by_host}"), (200, by_host))
        self.assertEqual((await self.ask("other"))[0], 404)

    async def test_whereItRunsAsWhoAsks_theHostIsServedOnlyAfterConsent(self):
        await self.post("demo.example")
        asked = {"host": ["demo.example"]}
        answer = await self.waiter.request("/?a=b", headers=asked)
        self.assertEqual((answer.code, answer.header("location")), (303, "/waiter-consent/?a=b"))
        page = await self.waiter.request("/waiter-consent/?a=b", headers=asked)
        self.assertEqual(page.code, 200)
        self.assertIn(b"consent-form", page.body)
        self.assertEqual(await self.waiter.api("/apps"), [])
        sent = {
            **asked,
            "origin": ["http://demo.example"],
            "referer": ["http://demo.example/waiter-consent/?a=b"],
            "x-requested-with": ["XMLHttpRequest"],
        }
        agreed = await self.waiter.request("/waiter-consent?mode=token", method="POST", headers=sent)
        self.assertEqual(agreed.code, 200, agreed.body)
        cookie = agreed.header("set-cookie").partition(";")[0]
        answer = await self.waiter.request("/", headers={**asked, "cookie": [cookie]})
        self.assertEqual(answer.code, 200)

    async def test_aSuspendedServiceRefusesUntilItIsResumed(self):
        await self.post()
        _, service_id = await self.ask()
        await self.waiter.api(f"/apps/{service_id}/suspend")
        self.assertEqual(await self.ask(), (503, service_id))
        await self.waiter.stop()
        await self.waiter.start()
        self.assertEqual(await self.ask(), (503, service_id))
        await self.waiter.api(f"/apps/{service_id}/resume")
        self.assertEqual(await self.ask(), (200, service_id))
