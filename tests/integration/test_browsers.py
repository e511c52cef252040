"""What browsers see: the page while a service starts, and the question whether it may run as their user."""

import html
import re

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.integration.browser import MISSING, Browser
from tests.integration.harness import RunningWaiter, until
from waiter.support.users import own_user

# An application that starts when the test says so, and says what it was asked for.
APPLICATION = """
import http.server, os, sys, time
while not os.path.exists(sys.argv[1]):
    time.sleep(0.05)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        site = self.headers["sec-fetch-site"]
        self.wfile.write(f"<title>Application</title><p id=path>{self.path}</p><p id=site>{site}</p>".encode())
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT0"])), Handler).serve_forever()
"""
# To browsers this is another site than other.localhost, and as good as one with TLS: they say from where they come.
HOST = "demo.localhost"
BROWSER = {"host": [HOST], "accept": ["text/html,application/xhtml+xml,*/*;q=0.8"]}


class BrowserTestCase(TestCase):
    timeout = 240

    async def setUp(self):
        self.waiter = await RunningWaiter(self).start()
        self.gate = self.waiter.state / "gate"
        self.url = f"http://{HOST}:{self.waiter.port}"

    async def post(self, **data):
        program = self.waiter.state / "application.py"
        program.write_text(APPLICATION)
        await self.waiter.post_token(HOST, f"exec python3 {program} {self.gate}", **data)

    async def promises(self):
        state = (await self.waiter.api("/state/interstitial"))["state"]["interstitial"]
        self.assertIs(state["initialized?"], True)
        return list(state["service-id->interstitial-promise"].values())


class WaitingTests(BrowserTestCase):
    async def test_thereIsAPageUntilTheServiceRuns(self):
        await self.post(run_as_user=own_user(), interstitial_secs=600)
        answer = await self.waiter.request("/a?b=%27", headers=BROWSER)
        self.assertEqual((answer.code, answer.header("x-waiter-interstitial")), (303, "true"))
        self.assertEqual(answer.header("location"), "/waiter-interstitial/a?b=%27")
        page = await self.waiter.request(answer.header("location"), headers=BROWSER)
        self.assertEqual(page.code, 200)
        back = html.unescape(re.search(r'http-equiv="refresh" content="0; url=([^"]*)"', page.body.decode())[1])
        self.assertRegex(back, r"^/a\?b=%27&x-waiter-bypass-interstitial=[0-9]+$")
        # Nobody waits, and yet it is started.
        apps = await until(lambda: self.waiter.api("/apps"), len)
        instances = await until(lambda: self.waiter.active_instances(apps[0]["service-id"]), len)
        self.assertFalse(instances[0]["healthy?"])
        self.assertEqual(await self.promises(), ["not-realized"])
        waiting = Deferred.fromCoroutine(self.waiter.request(back, headers=BROWSER))
        self.gate.touch()
        served = await waiting
        self.assertEqual(served.code, 200)
        self.assertIn(b"<p id=path>/a?b=%27</p>", served.body)
        await until(self.promises, lambda promises: promises == ["healthy-instance-found"])
        again = await self.waiter.request("/a", headers=BROWSER)
        self.assertEqual(again.code, 200)
        numbers = (await self.waiter.request("/metrics")).body.decode()
        self.assertRegex(numbers, r'waiter_service_interstitials_total\{service_id="[^"]+"\} 1\.0')


class ChromiumTests(BrowserTestCase):
    skip = MISSING

    async def setUp(self):
        await super().setUp()
        self.browser = await Browser(self).start()

    async def shows(self, title, *, within_secs=60):
        """Wait until a page with this title is seen; returns its address, without the host."""
        address, _ = await until(self.browser.seen, lambda seen: seen[1] == title, within_secs=within_secs)
        return address.removeprefix(self.url)

    async def test_thePageGoesOnToTheServiceByItself(self):
        await self.post(run_as_user=own_user(), interstitial_secs=600)
        await self.browser.open(f"{self.url}/a?b=%27")
        self.assertEqual(await self.shows("The service is starting"), "/waiter-interstitial/a?b=%27")
        self.gate.touch()
        self.assertRegex(await self.shows("Application"), r"^/a\?b=%27&x-waiter-bypass-interstitial=[0-9]+$")
        self.assertEqual(await self.browser.text("path"), "/a?b=%27")
        # Who goes back does not come to the page.
        self.assertEqual([title for _, title in await self.browser.history()], ["", "Application"])

    async def test_itIsNotConcealedWhichSiteHasSentTheBrowser(self):
        for version, begin, site in (("v1", None, "same-origin"), ("v2", "http://other.localhost", "cross-site")):
            await self.post(run_as_user=own_user(), interstitial_secs=600, version=version, fallback_period_secs=0)
            if begin is None:
                await self.browser.open(f"{self.url}/")
            else:
                self.gate.unlink()
                await self.browser.open(f"{begin}:{self.waiter.port}/")
                await until(self.browser.seen, lambda seen: seen[1] == "Service Cannot be Identified")
                await self.browser.run(f"setTimeout(() => location.href = '{self.url}/')")
            await self.shows("The service is starting")
            self.gate.touch()
            await self.shows("Application")
            self.assertEqual(await self.browser.text("site"), site)

    async def test_whoAgreesIsTakenToTheService(self):
        self.gate.touch()
        for mode, asked in (("service", {"version": "v1"}), ("token", {"version": "v2", "run_as_user": "*"})):
            await self.post(**asked)
            await self.browser.open(f"{self.url}/a?b={mode}")
            self.assertEqual(await self.shows("May this service run as you?"), f"/waiter-consent/a?b={mode}")
            await self.browser.click(f"button[value={mode}]")
            self.assertEqual(await self.shows("Application"), f"/a?b={mode}")
