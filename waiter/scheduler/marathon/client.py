"""Asks Marathon over HTTP."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urljoin

import attrs
import treq.client
from twisted.internet.defer import Deferred, DeferredSemaphore, succeed
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.web.client import Agent, HTTPConnectionPool, RequestTransmissionFailed, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from waiter.scheduler.marathon.addresses import Addresses, may_follow
from waiter.scheduler.marathon.body import answer_within, read_text
from waiter.scheduler.marathon.errors import MarathonError, MarathonRefused, MarathonUnreachable
from waiter.scheduler.marathon.pool import quiet_pool
from waiter.scheduler.marathon.reading import apps
from waiter.scheduler.marathon.translation import words
from waiter.support.trust import Trust
from waiter.support.turns import in_turns
from waiter.version import __version__

#: More than any cluster's answer; keeps a server that sends for ever from filling the memory.
MOST_BYTES = 512 * 1024 * 1024
_MOST_REDIRECTS = 3
_NOT_REACHED = (ConnectError, DNSLookupError)
_UNREACHABLE = (*_NOT_REACHED, TookTooLong, ResponseFailed, RequestTransmissionFailed)
_TRY_ANOTHER = frozenset({500, 501, 502, 503, 504})


@attrs.frozen(kw_only=True)
class Credentials:
    """
    How Waiter proves to Marathon who it is.

    @ivar token: sent as C{Authorization: token=...}; wins over the password.
    """

    username: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    token: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class Patience:
    """
    How long what may take, in seconds.

    @ivar answer: until the head of an answer is there.
    @ivar silence: between two pieces of a body.
    @ivar total: for a whole call, with all the addresses that are tried.
    @ivar listing: the same for the list of all apps.
    """

    connect: float = 5.0
    answer: float = 10.0
    silence: float = 10.0
    total: float = 20.0
    listing: float = 28.0


@implementer(IPolicyForHTTPS)
class TrustPolicy:
    """Lets a L{Trust} decide whether a Marathon is the one that was meant."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:  # noqa: ARG002
        """What makes the connections to a host."""
        return self._trust.creator(hostname.decode("ascii"))


class MarathonClient:
    """
    The calls, each with a time limit of its own; cancelling one drops its connection.

    What only asks is asked of all addresses in turn, until one answers. What changes something is sent on a fresh
    connection, and to another address only if it certainly reached none before: it is never done twice.

    No more than C{most_at_once} calls are under way: others wait for their turn, and their time begins with it. The list of all apps
    and the events do not count.

    @ivar addresses: the Marathons.
    """

    def __init__(
        self,
        reactor: Any,
        addresses: Sequence[str],
        *,
        credentials: Credentials | None = None,
        policy: IPolicyForHTTPS | None = None,
        patience: Patience | None = None,
        agents: Callable[[bool], IAgent] | None = None,
        most_at_once: int = 20,
    ) -> None:
        """
        @param policy: whom to believe in TLS; who this machine trusts, if not given.
        @param agents: makes what sends requests, told whether connections are kept; for tests.
        """
        self._reactor = reactor
        self.addresses = Addresses(addresses)
        self._patience = patience or Patience()
        self._credentials = credentials or Credentials()
        self._policy = policy
        self._make_agent = agents or self._agent
        self._turns = DeferredSemaphore(most_at_once)
        self._asking: treq.client.HTTPClient | None = None
        self._changing: treq.client.HTTPClient | None = None
        self._pool: HTTPConnectionPool | None = None

    # Life

    def open(self) -> None:
        """Be ready for calls. Connects to nobody yet."""
        self._asking = treq.client.HTTPClient(self._make_agent(True))
        self._changing = treq.client.HTTPClient(self._make_agent(False))

    def close(self) -> Deferred[None]:
        """Close the connections that are kept. Fires when they are closed."""
        pool, self._pool = self._pool, None
        self._asking = self._changing = None
        if pool is None:
            return succeed(None)
        closed: Deferred[None] = pool.closeCachedConnections().addCallback(lambda _: None)
        return closed

    # Calls

    async def each_app(self) -> AsyncIterator[dict[str, Any]]:
        """
        All apps, with their tasks and last failures. Others have their turn meanwhile.

        @raise MarathonError: the list could not be had; what was yielded before is then worth nothing.
        """
        query = "embed=apps.lastTaskFailure&embed=apps.tasks"
        text = await self._limited(self._text("GET", f"/v2/apps?{query}"), self._patience.listing)
        try:
            async for app in in_turns(self._reactor, apps(text)):
                if app is not None:
                    yield app
        except ValueError as error:
            raise MarathonError(f"the list of apps is not understood: {error}") from None

    async def app(self, service_id: str) -> Mapping[str, Any] | None:
        """One app with its tasks and deployments; C{None} if there is none."""
        query = "embed=app.tasks&embed=app.deployments&embed=app.lastTaskFailure"
        found = await self._found("GET", f"/v2/apps/{quote(service_id)}?{query}")
        return None if found is None else found.get("app", found)

    async def create(self, app: Mapping[str, Any]) -> Mapping[str, Any]:
        """Post a new app."""
        return _mapping(await self._call("POST", "/v2/apps", app))

    async def update(self, service_id: str, change: Mapping[str, Any]) -> Mapping[str, Any]:
        """Change an app, whatever is being done with it."""
        return _mapping(await self._call("PUT", f"/v2/apps/{quote(service_id)}?force=true", change))

    async def delete(self, service_id: str, *, force: bool) -> Mapping[str, Any]:
        """Delete an app and stop its tasks."""
        options = "?force=true" if force else ""
        return _mapping(await self._call("DELETE", f"/v2/apps/{quote(service_id)}{options}"))

    async def kill(self, service_id: str, task_ids: Sequence[str], *, force: bool) -> Mapping[str, Any]:
        """Kill tasks of one app and lower the number of its instances by as many."""
        options = f"force={str(force).lower()}&scale=true"
        if len(task_ids) == 1:
            return _mapping(
                await self._call(
                    "DELETE", f"/v2/apps/{quote(service_id)}/tasks/{quote(task_ids[0], safe='')}?{options}"
                )
            )
        return _mapping(await self._call("POST", f"/v2/tasks/delete?{options}", {"ids": list(task_ids)}))

    async def deployments(self) -> list[Mapping[str, Any]]:
        """Those that are under way."""
        found = await self._call("GET", "/v2/deployments")
        if not isinstance(found, list):
            raise MarathonError("the list of deployments is not understood")
        return [each for each in found if isinstance(each, Mapping)]

    async def delete_deployment(self, deployment_id: str) -> None:
        """End a deployment where it is, without going back."""
        await self._found("DELETE", f"/v2/deployments/{quote(deployment_id, safe='')}?force=true")

    async def framework_id(self) -> str | None:
        """Marathon's name at Mesos; C{None} if it has none yet."""
        found = _mapping(await self._call("GET", "/v2/info")).get("frameworkId")
        return found if isinstance(found, str) else None

    async def events(self, types: Sequence[str]) -> IResponse:
        """
        The stream of events: an answer with a body that does not end.

        @raise MarathonError: there is none.
        """
        query = "&".join(["plan-format=light", *(f"event_type={each}" for each in types)])
        work = self._answer("GET", f"/v2/events?{query}", accept="text/event-stream")
        response: IResponse = await self._limited(work, self._patience.total)
        return response

    # How

    async def _found(self, method: str, path: str) -> Mapping[str, Any] | None:
        try:
            return _mapping(await self._call(method, path))
        except MarathonRefused as refusal:
            if refusal.status == 404:
                return None
            raise

    async def _call(self, method: str, path: str, content: Any = None) -> Any:
        async with self._turns:
            text = await self._limited(self._text(method, path, content), self._patience.total)
        try:
            return json.loads(text) if text else {}
        except ValueError:
            raise MarathonError(f"{method} {path}: the answer is not JSON") from None

    async def _limited(self, work: Any, limit_secs: float) -> Any:
        try:
            return await Deferred.fromCoroutine(work).addTimeout(limit_secs, self._reactor)
        except TookTooLong:
            raise MarathonUnreachable(f"Marathon did not answer within {limit_secs:g} s") from None

    async def _text(self, method: str, path: str, content: Any = None) -> str:
        response = await self._answer(method, path, content)
        try:
            return await read_text(self._reactor, response, silence_secs=self._patience.silence, most_bytes=MOST_BYTES)
        except ValueError:
            raise MarathonError(f"{method} {path}: the answer is not UTF-8") from None

    async def _answer(
        self, method: str, path: str, content: Any = None, *, accept: str = "application/json"
    ) -> IResponse:
        """
        The answer of the first address that has one.

        @raise MarathonRefused: it is an error.
        @raise MarathonUnreachable: there is none.
        """
        troubles = []
        for address in self.addresses.to_try():
            try:
                response = await self._ask(method, address + path, content, accept)
            except _UNREACHABLE as error:
                troubles.append(f"{address}: {_reason(error)}")
                if method != "GET" and not isinstance(error, _NOT_REACHED):
                    # It may have been done.
                    break
                continue
            if response.code < 400:
                self.addresses.answered(address)
                return response
            refusal = await self._refusal(f"{method} {path}", response)
            if refusal.status not in _TRY_ANOTHER:
                self.addresses.answered(address)
                raise refusal
            # There is no leader now, or something in between does not reach it.
            troubles.append(f"{address}: {refusal}")
            if method != "GET" and refusal.status != 503:
                break
        raise MarathonUnreachable(f"Marathon cannot be asked: {'; '.join(troubles)}")

    async def _ask(self, method: str, url: str, content: Any, accept: str) -> IResponse:
        """Send it, and again to where the answer points."""
        client = self._asking if method == "GET" else self._changing
        if client is None:
            raise MarathonUnreachable("Waiter is not running")
        data = None if content is None else json.dumps(content).encode()
        for _ in range(_MOST_REDIRECTS + 1):
            asking = client.request(
                method,
                url,
                headers=self._headers(accept, data is not None),
                data=data,
                allow_redirects=False,
                unbuffered=True,
            )
            response = await answer_within(self._reactor, asking, self._patience.answer)
            where = response.headers.getRawHeaders("location")
            if response.code not in {301, 302, 303, 307, 308} or not where:
                return response
            target = urljoin(url, where[0])
            await read_text(self._reactor, response, silence_secs=self._patience.silence, most_bytes=65536)
            if not may_follow(url, target):
                raise MarathonUnreachable(f"{url} points to {target}, which would show the credentials to everybody")
            url = target
        raise MarathonUnreachable(f"{url}: too many redirects")

    async def _refusal(self, what: str, response: IResponse) -> MarathonRefused:
        try:
            text = await read_text(self._reactor, response, silence_secs=self._patience.silence, most_bytes=1024 * 1024)
            answer = json.loads(text)
        except (ValueError, MarathonUnreachable):
            answer = None
        return MarathonRefused(
            f"{what} was answered with {response.code} {words(answer)}".strip(), status=response.code, answer=answer
        )

    def _headers(self, accept: str, has_content: bool) -> Headers:
        headers = Headers({"Accept": [accept], "User-Agent": [f"waiter/{__version__}"]})
        if has_content:
            headers.addRawHeader("Content-Type", "application/json")
        given = self._credentials
        if given.token is not None:
            headers.addRawHeader("Authorization", f"token={given.token}")
        elif given.username is not None:
            headers.addRawHeader("Authorization", _basic(given.username, given.password or ""))
        return headers

    def _agent(self, kept: bool) -> IAgent:
        pool = quiet_pool(self._reactor, persistent=kept)
        if kept:
            pool.maxPersistentPerHost = 2
            pool.cachedConnectionTimeout = 10
            self._pool = pool
        options = {} if self._policy is None else {"contextFactory": self._policy}
        return Agent(self._reactor, connectTimeout=self._patience.connect, pool=pool, **options)


def _basic(username: str, password: str) -> str:

    return "Basic " + b64encode(f"{username}:{password}".encode()).decode()


def _mapping(found: Any) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise MarathonError("the answer is not a JSON object")
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, TookTooLong):
        return "no answer in time"
    if isinstance(error, ResponseFailed | RequestTransmissionFailed):
        causes = ", ".join(str(each.value).strip() or type(each.value).__name__ for each in error.reasons)
        return f"no answer ({causes})"
    return str(error) or type(error).__name__
