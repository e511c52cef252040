"""A router without the rest: what the API's tests put behind it, and how they ask."""

import json

import attrs
import treq
from treq.testing import StubTreq
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from tests.doubles.scheduler import MemoryScheduler
from waiter.admin.app import Parts, api_resource
from waiter.admin.health_request import HealthAnswer
from waiter.catalog.consent import Consents
from waiter.catalog.descriptor import Descriptor
from waiter.catalog.hosts import own_hosts
from waiter.catalog.memory import MemoryStore
from waiter.catalog.overrides import Override
from waiter.catalog.references import ReferenceCatalog
from waiter.catalog.rules import Rules
from waiter.catalog.suspensions import Suspensions
from waiter.catalog.token_editor import TokenEditor
from waiter.catalog.token_rules import Entitlements, TokenRules
from waiter.catalog.tokens import TokenCatalog
from waiter.discovery.maintainer import maintainer_view
from waiter.errors import BadRequest, NotFound, ServiceUnknown
from waiter.model.description import ServiceDescription
from waiter.model.identity import Identity
from waiter.model.instance import Instance
from waiter.model.load import ServiceLoad
from waiter.model.routing import InstanceCounts, RoutingState, ServiceState
from waiter.model.service import Service
from waiter.scheduler.interface import LogEntry
from waiter.scheduler.local.log_reader import LogReader
from waiter.support.topic import Topic
from waiter.telemetry.metrics import Metrics

# 2026-01-31T12:00:00Z
NOON = 1769860800.0

IDENTITY = Identity(
    router_id="router-1",
    cluster="waiter",
    version="1.2.3",
    hostnames=("localhost",),
    port=9091,
    started_at=NOON - 60,
)


#: Alice is an administrator and may run as alice and carol; others as themselves.
TOKEN_RULES = TokenRules(
    cluster="waiter",
    own_hosts=own_hosts(),
    descriptions=Rules(),
    entitlements=Entitlements(
        may_run_as=lambda user, other: user == other or (user, other) == ("alice", "carol"),
        may_manage=lambda user, owner: user == owner,
        is_admin=lambda user: user == "alice",
    ),
)


def make_service(service_id="waiter-service-a", **parameters):
    """A service with these parameters, under their outside names."""
    core = {"cmd": "./run", "cpus": 0.5, "mem": 128, "run-as-user": "alice", "version": "v1", **parameters}
    return Service(id=service_id, core=core, description=ServiceDescription.model_validate(core))


def make_instance(service_id="waiter-service-a", unique="1", **fields):
    """An instance that started one minute before noon."""
    given = {"host": "127.0.0.1", "port": 10001, "started_at": NOON - 60, **fields}
    return Instance(id=f"{service_id}.{unique}", service_id=service_id, **given)


def running(service, *unique, **fields):
    """The state of a service with healthy instances."""
    healthy = tuple(make_instance(service.id, each) for each in unique)
    counts = InstanceCounts(healthy=len(healthy), requested=len(healthy), scheduled=len(healthy))
    slots = {instance.id: 1 for instance in healthy}
    return ServiceState(**{"service": service, "healthy": healthy, "counts": counts, "slots": slots, **fields})


@attrs.define
class Aggregator:
    """Knows what the test says."""

    state: RoutingState = attrs.field(factory=lambda: RoutingState(routers={"router-1": "http://localhost:9091"}))
    states: Topic = attrs.field(factory=Topic)
    being_killed: list = attrs.field(factory=list)
    killed_ones: list = attrs.field(factory=list)

    def view(self):
        return maintainer_view(self.state, "router-1")

    def stopping(self, instance):
        self.being_killed.append(instance.id)
        return lambda: self.being_killed.remove(instance.id)

    def killed(self, instance):
        self.killed_ones.append(instance.id)

    def know(self, *services):
        """Let these be all services."""
        self.state = attrs.evolve(self.state, services={state.service.id: state for state in services})
        self.states.publish(self.state)


@attrs.define
class Reserver:
    """
    One that shows what the test says.

    @ivar leases: what it gives, in this order.
    """

    load: ServiceLoad = attrs.field(factory=ServiceLoad)
    slots_assigned: int = 0
    slots_in_use: int = 0
    slots_available: int = 0
    queued_reason: str | None = None
    leases: list = attrs.field(factory=list)
    reserved: list = attrs.field(factory=list)

    def reserve(self, **arguments):
        self.reserved.append(arguments)
        return self.leases.pop(0)

    def oldest_wait_secs(self, now):
        return 0.0

    def oldest_lease_secs(self, now):
        return 0.0

    def state(self):
        return {"instance-id->state": {}}


@attrs.define
class Reservers:
    """Those of the test, by service id."""

    all: dict = attrs.field(factory=dict)
    ejected: dict = attrs.field(factory=dict)

    def find(self, service_id):
        return self.all.get(service_id)

    def reserver(self, service):
        return self.all[service.id]

    def loads(self):
        return {service_id: reserver.load for service_id, reserver in self.all.items()}

    def failing(self, service_id):
        return self.ejected.get(service_id, frozenset())

    def state(self):
        return {"service-id->my-instance->slots": {}}


@attrs.define
class Autoscaler:
    """Scales nothing."""

    scaling: dict = attrs.field(factory=dict)

    def scaling_state(self, service_id):
        return self.scaling.get(service_id)

    def state(self):
        return {service_id: {"scaling-state": state} for service_id, state in self.scaling.items()}


class Catalog(dict):
    """Services by id; of their parameters any may be overridden but C{cmd}."""

    rules = Rules()

    def check_overrides(self, service, overrides):
        if "cmd" in overrides:
            raise BadRequest("Cannot override the following parameter(s): cmd")
        return overrides


class Overrides(dict):
    """Those of services, by their ids."""

    async def set(self, service_id, parameters, *, by):
        self[service_id] = Override(parameters=parameters, by=by, at=NOON)

    def refresh(self, service_id):
        return succeed(None)


@attrs.define
class Resolver:
    """
    Knows one request.

    @ivar asked: what it was asked, in order.
    @ivar failure: what it raises.
    @ivar more: further members of its descriptor.
    """

    service: Service
    asked: list = attrs.field(factory=list)
    failure: BaseException | None = None
    deferred: bool = False
    more: dict = attrs.field(factory=dict)

    def resolve_newest(self, host, waiter_headers):
        return self.resolve(host, (*waiter_headers, (b"newest", b"")) if waiter_headers else ())

    def resolve(self, host, waiter_headers):
        self.asked.append((host, waiter_headers))
        if self.failure is not None:
            raise self.failure
        if not waiter_headers:
            raise ServiceUnknown("Unable to identify service using waiter headers/token")
        descriptor = Descriptor(
            service=self.service,
            queue_timeout_secs=1,
            socket_timeout_secs=1,
            streaming_timeout_secs=1,
            principal="alice",
            **self.more,
        )
        return succeed(descriptor) if self.deferred else descriptor


@attrs.define
class HealthRequests:
    """
    Instances that answer what the test says.

    @ivar asked: the ids of those that were asked, in order.
    @ivar answers: what they answer, the first one first; the last one for ever.
    """

    answers: list = attrs.field(factory=lambda: [HealthAnswer(status=200, headers={}, body=b"fine")])
    asked: list = attrs.field(factory=list)

    def ask(self, instance, description, cid):
        self.asked.append(instance.id)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            return fail(answer)
        return answer if isinstance(answer, Deferred) else succeed(answer)


class Scheduler(MemoryScheduler):
    """
    One with logs.

    @ivar directory: a real directory; its files are those of every instance.
    @ivar complete: whether the instances have ended.
    @ivar logged: the instances that have logs.
    """

    directory = None
    complete = False
    logged = ()

    def log_entries(self, service_id, instance_id, directory):
        self.calls.append(("log_entries", service_id, instance_id, directory))
        if self.directory is None:
            return fail(NotFound("No such instance"))
        return succeed(
            tuple(
                LogEntry(
                    name=path.name,
                    type="directory" if path.is_dir() else "file",
                    size=None if path.is_dir() else path.stat().st_size,
                    path=f"{directory}/{path.name}".lstrip("/"),
                )
                for path in sorted((self.directory / directory).iterdir())
            )
        )

    def log(self, service_id, instance_id, path):
        self.calls.append(("log", service_id, instance_id, path))
        if self.directory is None:
            return fail(NotFound("No such file"))
        log = LogReader(
            str(self.directory / path), rotated=path in {"stdout", "stderr"}, complete=lambda: self.complete
        )
        return succeed(log)

    def logged_instances(self, service_id):
        return succeed(tuple(self.logged))


class Api:
    """
    The API over doubles, and a client for it.

    @ivar parts: what the API was made from.
    """

    def __init__(self, **parts):
        self.clock = Clock()
        self.clock.advance(1000)
        self.aggregator = Aggregator()
        self.reservers = Reservers()
        self.autoscaler = Autoscaler()
        self.scheduler = Scheduler()
        self.catalog = Catalog()
        self.overrides = Overrides()
        self.resolver = Resolver(make_service())
        self.store = MemoryStore()
        self.store.startService()
        self.tokens = TokenCatalog(self.clock, self.store)
        self.tokens.startService()
        self.suspensions = Suspensions(self.store, wall=lambda: NOON)
        self.suspensions.startService()
        self.references = ReferenceCatalog(self.store)
        self.references.startService()
        self.health_requests = HealthRequests()
        self.parts = Parts(
            **{
                "clock": self.clock,
                "wall": lambda: NOON,
                "identity": IDENTITY,
                "aggregator": self.aggregator,
                "reservers": self.reservers,
                "autoscaler": self.autoscaler,
                "scheduler": self.scheduler,
                "services": self.catalog,
                "overrides": self.overrides,
                "resolver": self.resolver,
                "tokens": self.tokens,
                "token_editor": TokenEditor(self.tokens, TOKEN_RULES, lambda: NOON + self.clock.seconds() - 1000),
                "consents": Consents(lambda: b"secret", principal="alice", wall=lambda: NOON, life_secs=90 * 86400),
                "suspensions": self.suspensions,
                "references": self.references,
                "health_requests": self.health_requests,
                "metrics": Metrics(),
                "settings_view": lambda: {"cluster-config": {"name": "waiter"}},
                "principal": lambda _: "alice",
                "is_leader": lambda: True,
                **parts,
            }
        )
        self.resource = api_resource(self.parts)
        self._treq = StubTreq(self.resource)

    def run(self, service_state):
        """Have a service in the scheduler and the routing state."""
        self.scheduler.put(service_state.service)
        self.catalog[service_state.service.id] = service_state.service
        self.aggregator.know(*self.aggregator.state.services.values(), service_state)

    def begin(self, method, path, **arguments):
        """Ask for something; what the Deferred gives comes after C{settle}."""
        return self._treq.request(method, f"http://localhost:9091{path}", **arguments)

    def settle(self):
        """Let everything happen that needs no time."""
        for _ in range(50):
            self._treq.flush()
            self.clock.advance(0)

    def ask(self, test, path, *, method="GET", **arguments):
        """Ask, and give the answer with its body as C{content}."""
        asked = self.begin(method, path, **arguments)
        self.settle()
        return self.read(test, asked)

    def read(self, test, asked):
        """An answer that is there."""
        response = test.successResultOf(asked)
        body = response.content()
        self.settle()
        return Answered(response, test.successResultOf(body))

    def watch(self, test, path):
        """Ask for an answer of many messages, which go on coming."""
        asked = self.begin("GET", path)
        self.settle()
        return Watching(self, test.successResultOf(asked))

    def json(self, test, path, **arguments):
        """Ask for JSON."""
        return self.ask(test, path, **arguments).json


class Watching:
    """
    An answer that goes on.

    @ivar code: its status.
    @ivar ended: C{[None]} once it has come to its end.
    """

    def __init__(self, api, response):
        self._api = api
        self._received = []
        self.code = response.code
        self.ended = []
        treq.collect(response, self._received.append).addBoth(self.ended.append)
        api.settle()

    def messages(self):
        """All that came."""
        self._api.settle()
        return [json.loads(line) for line in b"".join(self._received).splitlines()]


@attrs.define
class Answered:
    """An answer."""

    response: object
    content: bytes

    @property
    def code(self):
        return self.response.code

    @property
    def json(self):
        return json.loads(self.content)

    def header(self, name):
        values = self.response.headers.getRawHeaders(name, [])
        assert len(values) <= 1, values
        return values[0] if values else None
