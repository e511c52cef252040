"""A real browser, steered by way of chromedriver."""

import contextlib
import json
import shutil
import subprocess

import treq
from twisted.internet import reactor
from twisted.internet.error import ConnectError
from twisted.web.client import Agent, HTTPConnectionPool

from tests.integration.harness import until
from tests.ports import free_port

MISSING = (
    None
    if shutil.which("chromedriver") and shutil.which("chromium")
    else "chromium and its chromedriver are not installed"
)

_ARGUMENTS = [
    "--headless=new",
    # The sandbox does not work where tests run as root.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
]


class BetweenPages(AssertionError):
    """It cannot be said now what the browser shows."""


class Browser:
    """
    One Chromium without a window. It does not wait for pages. All hosts below C{localhost} are this machine.
    """

    def __init__(self, case):
        self._case = case
        self._url = f"http://127.0.0.1:{free_port()}"
        self._agent = Agent(reactor, HTTPConnectionPool(reactor, persistent=False))

    async def start(self):
        """Start it; it is ended when the test is."""
        driver = subprocess.Popen(
            ["chromedriver", f"--port={self._url.rpartition(':')[2]}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._case.addCleanup(self._end, driver)
        await until(self._started, lambda started: started)
        options = {"args": _ARGUMENTS}
        wanted = {"pageLoadStrategy": "none", "goog:chromeOptions": options}
        session = await self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._url += f"/session/{session['sessionId']}"
        self._case.addCleanup(self._call, "DELETE", "")
        return self

    async def open(self, url):
        """Begin to load a page."""
        await self._call("POST", "/url", {"url": url})

    async def history(self):
        """The addresses and titles that its user could go back to, the page that is seen being the last."""
        shown = await self._devtools("Page.getNavigationHistory")
        return [(entry["url"], entry["title"]) for entry in shown["entries"][: shown["currentIndex"] + 1]]

    async def seen(self):
        """The address and the title of the page that is seen; empty while the browser goes from one to the next."""
        try:
            return (await self.history())[-1]
        except BetweenPages:
            return "", ""

    async def run(self, script):
        """Run a script in the page, and return its result."""
        return await self._call("POST", "/execute/sync", {"script": script, "args": []})

    async def text(self, element_id):
        """What an element of the page says, as soon as the page has it."""
        return await self._result(f"return document.getElementById({element_id!r})?.innerText", bool)

    async def click(self, selector):
        """Click what is found by a CSS selector as a user does who waits until the page is there."""
        # The title of a page is seen before all that is in it is there.
        await self._result("return document.readyState", lambda state: state == "complete")
        found = await self._call("POST", "/element", {"using": "css selector", "value": selector})
        (element,) = found.values()
        await self._call("POST", f"/element/{element}/click", {})

    async def _result(self, script, predicate):
        """The result of a script, as soon as there is a page in which the predicate holds of it."""

        async def result():
            with contextlib.suppress(BetweenPages):
                return await self.run(script)

        return await until(result, predicate)

    async def _devtools(self, command):
        return await self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": {}})

    async def _started(self):
        with contextlib.suppress(ConnectError):
            return (await self._call("GET", "/status"))["ready"]

    async def _call(self, method, path, value=None):
        data = None if value is None else json.dumps(value).encode()
        answer = await treq.request(method, self._url + path, data=data, agent=self._agent)
        found = (await answer.json())["value"]
        if answer.code != 200:
            if "aborted by navigation" in str(found):
                raise BetweenPages
            raise AssertionError(f"the browser cannot do it: {found}")
        return found

    def _end(self, driver):
        driver.terminate()
        driver.wait()
