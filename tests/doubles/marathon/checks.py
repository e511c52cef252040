"""Checks the health of tasks as Marathon does."""

import time
from datetime import UTC, datetime

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.web.client import Agent, HTTPConnectionPool, readBody
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from waiter.support.trust import AnyCertificate

_FIRST_PAUSE_SECS = 0.05


@implementer(IPolicyForHTTPS)
class _AnyCertificate:
    def creatorForNetloc(self, hostname, port):
        return AnyCertificate()


def iso(seconds=None):
    """A time as Marathon writes it."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class HealthChecks:
    """One check at a time for each health check of each task that runs."""

    def __init__(self, reactor, cluster):
        self._reactor = reactor
        self._cluster = cluster
        pool = HTTPConnectionPool(reactor, persistent=False)
        self._agent = Agent(reactor, contextFactory=_AnyCertificate(), connectTimeout=5, pool=pool)
        self._known = set()
        self._pending = set()
        self._asking = set()
        cluster.subscribers.append(self._heard)

    def forget(self, task_id):
        """Check it no more."""
        self._known.discard(task_id)

    def _heard(self, kind, event):
        if kind == "status_update_event" and event["taskStatus"] == "TASK_RUNNING":
            found = self._cluster.find_task(event["taskId"])
            if found is not None:
                self.watch(*found)

    def watch(self, app, task):
        """Check it from now on."""
        self._known.add(task.id)
        task.health = [None] * len(app.definition["healthChecks"])
        for index, check in enumerate(app.definition["healthChecks"]):
            self._later(_FIRST_PAUSE_SECS, app, task, index, check)

    def stop(self):
        """Check nothing any more. Fires when no check is under way."""
        self._known.clear()
        for call in self._pending:
            call.cancel()
        self._pending.clear()
        asking = tuple(self._asking)
        ended = DeferredList(asking)
        for each in asking:
            each.cancel()
        return ended

    def _later(self, secs, *what):
        def run():
            self._pending.discard(call)
            self._check(*what)

        call = self._reactor.callLater(secs / self._cluster.speed, run)
        self._pending.add(call)

    def _check(self, app, task, index, check):
        if task.id not in self._known:
            return
        asking = Deferred.fromCoroutine(self._ask(task, check))
        self._asking.add(asking)
        asking.addCallback(self._noted, app, task, index, check)
        asking.addErrback(lambda failure: failure.trap(CancelledError) and None)
        asking.addBoth(lambda _: self._asking.discard(asking))

    async def _ask(self, task, check):
        """C{None} if it is well, or else why not."""
        url = f"{check['protocol'].lower()}://{task.host}:{task.ports[check['portIndex']]}{check['path']}"

        async def get():
            response = await self._agent.request(b"GET", url.encode())
            await readBody(response)
            return response.code

        try:
            code = await Deferred.fromCoroutine(get()).addTimeout(check["timeoutSeconds"], self._reactor)
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the task is not well
            return str(error) or type(error).__name__
        return None if 200 <= code < 400 else f"{code}"

    def _noted(self, cause, app, task, index, check):
        if task.id not in self._known:
            return
        before = task.health[index] or {
            "alive": False,
            "consecutiveFailures": 0,
            "firstSuccess": None,
            "instanceId": task.id,
            "lastFailure": None,
            "lastFailureCause": None,
            "lastSuccess": None,
        }
        if cause is None:
            task.health[index] = {
                **before,
                "alive": True,
                "consecutiveFailures": 0,
                "firstSuccess": before["firstSuccess"] or iso(),
                "lastSuccess": iso(),
            }
            if not before["alive"]:
                self._cluster.healthy(app, task)
        elif before["firstSuccess"] is None and self._has_grace(task, check):
            pass
        else:
            failures = before["consecutiveFailures"] + 1
            task.health[index] = {
                **before,
                "alive": False,
                "consecutiveFailures": failures,
                "lastFailure": iso(),
                "lastFailureCause": cause,
            }
            if failures >= check["maxConsecutiveFailures"] > 0:
                self._cluster.unhealthy(app, task, cause)
                return
        self._later(check["intervalSeconds"], app, task, index, check)

    def _has_grace(self, task, check):
        return time.time() - task.started_at < check["gracePeriodSeconds"] / self._cluster.speed
