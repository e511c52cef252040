"""Everything that can be set: typed, checked, described."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from waiter.model.description import outside_name
from waiter.support.users import own_user

NonEmptyStr = Annotated[str, Field(min_length=1)]
PositiveInt = Annotated[int, Field(gt=0)]
RequestTimeoutMs = Annotated[int, Field(gt=0, le=3600000)]
PositiveFloat = Annotated[float, Field(gt=0)]
Port = Annotated[int, Field(ge=1, le=65535)]


class SettingsError(Exception):
    """The settings do not hold. The text names every place that is wrong and what to do."""


@contextmanager
def meaning(name: str) -> Iterator[None]:
    """Whoever finds in here that a value does not hold means this setting, and a L{SettingsError} says so."""
    try:
        yield
    except ValueError as error:
        raise SettingsError(f"{name}: {error}") from None


class Section(BaseModel):
    """One table of waiter.toml. Keys are written with hyphens."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=outside_name, validate_by_name=True, validate_by_alias=True
    )


class ClusterSettings(Section):
    """Which cluster this router belongs to."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")] = Field(
        default="waiter", description="Names the cluster, its state directory and its ZooKeeper nodes."
    )
    service_prefix: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] = Field(
        default="waiter-service-", description="What every service id begins with."
    )
    min_routers: PositiveInt = Field(
        default=1, description="With fewer routers nobody leads: nothing is scaled and nothing is collected."
    )


class ListenSettings(Section):
    """Where requests come in."""

    http: tuple[str, ...] = Field(
        default=("tcp:9091:interface=127.0.0.1",),
        min_length=1,
        description="Twisted endpoint strings. A command in a header is code execution, so only loopback addresses and "
        "UNIX sockets are allowed while the authenticator is one-user.",
    )
    hostnames: tuple[str, ...] = Field(
        default=("localhost",), min_length=1, description="Hosts that mean Waiter itself, beside 127.0.0.1 and [::1]."
    )
    idle_timeout_secs: PositiveFloat = Field(default=75, description="How long a kept-alive connection may be idle.")
    head_timeout_secs: PositiveFloat = Field(
        default=30, description="How long a client may take to send a request's head."
    )
    max_head_bytes: PositiveInt = Field(default=32768, description="The largest request line and headers together.")
    max_headers: PositiveInt = Field(default=200, description="The most headers in a request.")
    body_timeout_secs: PositiveFloat = Field(
        default=60,
        description="How long a client may send nothing of a body that is waited for; also what "
        "request.min-client-bytes-per-sec is measured over.",
    )
    max_requests_per_connection: Annotated[int, Field(ge=0)] = Field(
        default=0, description="After so many requests a connection is closed; 0 for any number."
    )
    max_connections: PositiveInt | None = Field(
        default=None,
        description="The most connections of clients; more wait until some are closed. If not given, what the limit on open "
        "files has room for: half of it, less 128.",
    )
    max_connections_per_address: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="The most connections of one client: an IPv4 address, or the /64 of an IPv6 address. More are answered "
        "with 429. 0 for any number, which is right behind a proxy: all come from its address there. UNIX sockets do not count.",
    )
    drain_timeout_secs: PositiveFloat = Field(
        default=30, description="How long requests may go on when Waiter stops, before their connections are cut."
    )
    drain_waiting_secs: Annotated[float, Field(ge=0)] = Field(
        default=10,
        description="How long requests that have no instance yet may go on waiting when Waiter stops. No instances are "
        "started any more; where none is running or starting, they are refused at once.",
    )


class AuthenticatorSettings(Section):
    """Who is asking."""

    kind: Literal["one-user"] = Field(
        default="one-user", description="one-user: everybody who can connect is the same user."
    )
    run_as_user: str | None = Field(default=None, description="That user; the one Waiter runs as if not given.")
    consent_expiry_days: PositiveInt = Field(
        default=90, description="How long a browser's user is not asked again whether a service may run as that user."
    )

    @property
    def principal(self) -> str:
        """The one user."""
        return self.run_as_user or own_user()


class RequestSettings(Section):
    """Bounds on one request; a request's own headers may set the first three."""

    queue_timeout_ms: RequestTimeoutMs = Field(default=300000, description="How long a request waits for an instance.")
    socket_timeout_ms: RequestTimeoutMs = Field(default=900000, description="How long an instance may be silent.")
    streaming_timeout_ms: RequestTimeoutMs = Field(
        default=20000, description="How long a peer may take nothing of a body."
    )
    max_body_bytes: PositiveInt | None = Field(
        default=None,
        description="The longest body of a request for a service; longer ones are refused with 413. Bodies are passed on as "
        "they come, so there is no bound if not given.",
    )
    min_client_bytes_per_sec: Annotated[float, Field(ge=0)] = Field(
        default=16,
        description="How slow a client may send a body, or take an answer, on average over each listen.body-timeout-secs in "
        "which it is waited for: who is slower holds a slot for hardly anything. 0 for any pace.",
    )
    connect_timeout_ms: PositiveInt = Field(default=5000, description="How long connecting to an instance may take.")
    pool_idle_timeout_ms: PositiveInt = Field(
        default=10000, description="How long an unused connection to an instance is kept."
    )


class BackendTLSSettings(Section):
    """What instances with backend-proto https have to prove; those on this machine nothing, if nothing is set."""

    ca_file: NonEmptyStr | None = Field(
        default=None,
        description="A file with the certificates (PEM) of the authorities that issue certificates of instances. With it, all "
        "instances have to prove who they are.",
    )
    server_name: NonEmptyStr | None = Field(
        default=None,
        description="The name or address that certificates of instances must be for, instead of the instance's address; on this "
        "machine that is 127.0.0.1. With it, all instances have to prove who they are.",
    )


class SchedulerSettings(Section):
    """What runs the instances."""

    kind: Literal["local", "marathon"] = Field(
        default="local",
        description="local: processes of this machine; marathon: apps of a Marathon, which the table marathon tells. What "
        "follows is for local, but for health-check-timeout-ms.",
    )
    on_stop: Literal["stop", "leave"] = Field(
        default="stop",
        description="What happens to instances when Waiter stops: stop them, or leave them for the next start.",
    )
    port_range: tuple[Port, Port] = Field(default=(10000, 19999), description="First and last port for instances.")
    port_rest_secs: Annotated[float, Field(ge=0)] = Field(default=120, description="How long a port rests after use.")
    memory_share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.8, description="The share of the machine's memory that instances may declare together."
    )
    cpu_overcommit: PositiveFloat = Field(
        default=4,
        description="How many times the machine's CPUs instances may declare together. Over 1, because most of them are idle "
        "most of the time, and busy ones share the CPUs.",
    )
    max_open_files: PositiveInt = Field(
        default=16384, description="How many files each process of an instance may have open, connections included."
    )
    count_other_servers: bool = Field(
        default=True,
        description="Whether what instances of other Waiters on this machine were promised counts as taken. They say so in "
        "their environments, which other users' processes can pretend if Waiter runs as root.",
    )
    max_processes: PositiveInt = Field(
        default=512, description="How many processes an instance may have; one that has more is stopped."
    )
    max_file_size_mib: PositiveInt | None = Field(
        default=None,
        description="The largest file in MiB that an instance may write, its output included; no bound if not given.",
    )
    max_log_bytes: Annotated[int, Field(ge=65536)] = Field(
        default=10485760,
        description="Size at which the stdout or stderr file of an instance is rotated; looked at once a second.",
    )
    keep_logs: Annotated[int, Field(ge=0, le=100)] = Field(
        default=3, description="How many rotated files are kept of each, beside the one that is written to."
    )
    health_check_timeout_ms: PositiveInt = Field(
        default=200,
        description="How long an instance may take to answer a health check; local ones get at least 5 s while they start "
        "and 20 s later.",
    )

    @model_validator(mode="after")
    def _range_in_order(self) -> Self:
        if self.port_range[0] > self.port_range[1]:
            raise ValueError("port-range: the first port must not be greater than the last")
        return self


class MarathonSettings(Section):
    """Where and how services run as apps of a Marathon, if scheduler.kind says so."""

    urls: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        default=("http://127.0.0.1:8080",),
        description="Addresses of the Marathons of one cluster. One that does not answer is passed over.",
    )
    username: str | None = Field(default=None, description="Who we are, if they ask for that (HTTP Basic).")
    password: str | None = Field(default=None, repr=False, description="Rather set it by the variable.")
    token: str | None = Field(
        default=None, repr=False, description="Who we are, as Authorization: token=... Rather set it by the variable."
    )
    ca_file: NonEmptyStr | None = Field(
        default=None,
        description="A file with the certificates (PEM) of the authorities to trust, instead of those of the system.",
    )
    connect_timeout_ms: PositiveInt = Field(default=5000, description="How long connecting may take.")
    request_timeout_ms: PositiveInt = Field(
        default=10000, description="How long an answer may take to begin, and how long it may stop on its way."
    )
    events: bool = Field(
        default=True,
        description="Whether to listen to events, so that changes are seen at once and not only at the next look.",
    )
    any_user: bool = Field(
        default=False, description="Whether services may run as any user, and not only as the caller."
    )
    container_init_commands: tuple[str, ...] = Field(
        default=("/bin/bash", "-c"), description="What is run with the command of a service as its last argument."
    )
    home_path_prefix: str = Field(default="/home/", description="What comes before the user's name in HOME.")
    agent_port: Port = Field(default=5051, description="Where the Mesos agents listen; they are asked for logs.")
    agent_directory: Annotated[str, Field(pattern=r"^/")] = Field(
        default="/var/lib/mesos/slaves", description="Where on the agents the directories of tasks are."
    )
    framework_id_ttl_ms: PositiveInt = Field(
        default=900000, description="How long Marathon's name at Mesos is believed before it is asked for again."
    )
    force_kill_after_ms: PositiveInt = Field(
        default=60000,
        description="When stopping instances of a service has been failing for so long, the lock of its app is broken.",
    )
    sync_deployment_secs: PositiveFloat = Field(
        default=15,
        description="Seconds between looks for apps that got stuck: that nothing changes and that have another number of "
        "tasks than they should, for more than four times as long. They are set to what they have.",
    )
    min_hosts: PositiveInt = Field(
        default=2,
        description="On how many hosts instances must have failed before the service counts as failing. 1 if there is one.",
    )


class DiscoverySettings(Section):
    """How often the world is looked at when nothing says that it has changed."""

    scheduler_interval_secs: PositiveFloat = Field(default=5, description="Seconds between looks at the scheduler.")
    router_interval_ms: PositiveInt = Field(default=1500, description="Milliseconds between looks at the router list.")


class ZooKeeperSettings(Section):
    """Where the routers of a cluster meet. Off unless there is a connect-string."""

    connect_string: NonEmptyStr | None = Field(
        default=None,
        description="The servers, as host:port,host:port/path; the path, if there is one, is where everything else begins.",
    )
    base_path: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9_.-]+)+$")] = Field(
        default="/waiter", description="The node below which all others are."
    )
    discovery_relative_path: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = Field(
        default="discovery-v2",
        description="The node below it where routers register; the version of what they write there, -v2, is added.",
    )
    leader_latch_relative_path: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = Field(
        default="leader-latch", description="The node below base-path by which the leader is found."
    )
    session_timeout_ms: Annotated[int, Field(ge=1000)] = Field(
        default=10000,
        description="How long a router that is not heard of counts as there; servers have bounds of their own, 4 to 40 s "
        "unless they are told otherwise.",
    )
    connect_timeout_ms: PositiveInt = Field(
        default=15000, description="How long the first connection may take; without one Waiter does not start."
    )
    address: NonEmptyStr | None = Field(
        default=None,
        description="The name or address under which other routers reach this one. If not given, the interface of the first "
        "endpoint, or an address of this machine if that is all of them.",
    )
    digest: Annotated[str, Field(pattern=r"^[^:]+:.+$")] | None = Field(
        default=None,
        repr=False,
        description="user:password to say who we are; nodes are then for this user alone. Rather set it by the variable.",
    )
    tls: bool = Field(
        default=False, description="Whether to connect with TLS. The servers' certificates must bear their names."
    )
    ca_file: NonEmptyStr | None = Field(
        default=None, description="Certificates (PEM) of the authorities to trust beside those of the system."
    )
    certificate_file: NonEmptyStr | None = Field(
        default=None, description="This router's certificate (PEM), if it needs one."
    )
    key_file: NonEmptyStr | None = Field(default=None, description="The key of that certificate (PEM).")

    @model_validator(mode="after")
    def _files_fit(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate-file and key-file go together")
        if not self.tls and (self.ca_file or self.certificate_file):
            raise ValueError("ca-file, certificate-file and key-file are of use with tls = true only")
        return self


class StoreSettings(Section):
    """Where tokens and descriptions of services are kept."""

    kind: Literal["sqlite", "zookeeper"] = Field(
        default="sqlite",
        description="sqlite: in the state directory, for this router alone; zookeeper: for all routers of the cluster.",
    )
    passwords: tuple[NonEmptyStr, ...] = Field(
        default=(),
        repr=False,
        description="If given, what is stored is encrypted with the first; the others are tried for what is there already. "
        "All routers of a cluster need the same. Rather set them by the variable.",
    )


class TokenSettings(Section):
    """What holds for tokens."""

    history_length: Annotated[int, Field(ge=0, le=100)] = Field(
        default=5, description="How many earlier versions of a token are kept."
    )
    limit_per_owner: PositiveInt = Field(
        default=1000, description="The most tokens that one user may own, deleted ones apart."
    )


class EjectionSettings(Section):
    """What happens to an instance that fails requests."""

    base_time_ms: PositiveInt = Field(
        default=10000, description="How long the first ejection lasts; each further one doubles."
    )
    max_time_ms: PositiveInt = Field(default=300000, description="The longest ejection.")
    expiry_threshold: PositiveInt = Field(
        default=5, description="Failures in a row after which the instance is replaced."
    )
    lingering_request_ms: PositiveInt = Field(
        default=60000,
        description="Age from which the requests of an expired instance no longer protect it from being killed.",
    )


class AutoscalerSettings(Section):
    """How the number of instances follows the requests."""

    interval_ms: PositiveInt = Field(default=1000, description="Milliseconds between turns; demand runs one at once.")
    inter_kill_wait_ms: Annotated[int, Field(ge=0)] = Field(default=1000, description="Pause after a turn that killed.")
    quanta_cpus: PositiveFloat = Field(default=64, description="The most CPUs that one step up may add.")
    quanta_mem: PositiveFloat = Field(default=524288, description="The most memory in MiB that one step up may add.")
    kills_per_turn: PositiveInt = Field(
        default=16, description="The most instances of a service that are stopped at a time when there are too many."
    )
    max_surge: Annotated[int, Field(ge=0)] = Field(
        default=10,
        description="The most instances a service may have beyond what it needs because expired ones are being replaced.",
    )
    idle_check_secs: PositiveFloat = Field(default=1, description="Seconds between looks for idle services.")
    broken_service_timeout_mins: PositiveFloat = Field(
        default=30,
        description="How long, beyond its grace period, a service whose instances all fail is kept with its failures. The "
        "next request for it is a new try.",
    )
    broken_service_min_hosts: PositiveInt | None = Field(
        default=None,
        description="On how many hosts instances have to have failed for that. If not given, 1 where instances run on this "
        "machine and 2 elsewhere.",
    )


class ConstraintSettings(Section):
    """The most a description may ask for."""

    cmd_length: PositiveInt = Field(default=1200, description="Characters in cmd.")
    cpus: PositiveFloat = Field(default=32, description="CPUs of one instance.")
    mem: PositiveFloat = Field(default=131072, description="MiB of memory of one instance.")


class CatalogSettings(Section):
    """What is remembered of services."""

    keep_unused_days: PositiveFloat = Field(
        default=30,
        description="How long a service without instances and requests is remembered. Whoever asks for it later describes "
        "it again, as every request does.",
    )


class ProfileSettings(Section):
    """What a profile stands for."""

    defaults: dict[str, Any] = Field(
        default_factory=dict, description="Service parameters, and metadata of tokens, for those that name the profile."
    )


class RequestLogSettings(Section):
    """One JSON line per request."""

    enabled: bool = Field(default=True, description="Whether there is one.")
    path: NonEmptyStr | None = Field(
        default=None, description="The file; request.log in the state directory if not given."
    )
    max_bytes: PositiveInt = Field(default=67108864, description="Size at which the file is rotated.")
    keep: Annotated[int, Field(ge=0)] = Field(default=3, description="How many rotated files are kept.")


class Settings(Section):
    """Everything that can be set."""

    cluster: ClusterSettings = ClusterSettings()
    listen: ListenSettings = ListenSettings()
    authenticator: AuthenticatorSettings = AuthenticatorSettings()
    request: RequestSettings = RequestSettings()
    backend_tls: BackendTLSSettings = BackendTLSSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    marathon: MarathonSettings = MarathonSettings()
    discovery: DiscoverySettings = DiscoverySettings()
    zookeeper: ZooKeeperSettings = ZooKeeperSettings()
    store: StoreSettings = StoreSettings()
    tokens: TokenSettings = TokenSettings()
    ejection: EjectionSettings = EjectionSettings()
    autoscaler: AutoscalerSettings = AutoscalerSettings()
    constraints: ConstraintSettings = ConstraintSettings()
    catalog: CatalogSettings = CatalogSettings()
    defaults: dict[str, Any] = Field(
        default_factory=dict, description="Service parameters for descriptions that do not give them."
    )
    profiles: dict[str, ProfileSettings] = Field(
        default_factory=dict,
        description="Defaults under a name, which descriptions and tokens take by profile: a table "
        "profiles.<name>.defaults each.",
    )
    metric_groups: tuple[tuple[str, str], ...] = Field(
        default=(),
        description="Pairs of a regular expression and a word. A service whose whole name matches is in that metric group, "
        "unless it says another itself; the first that matches counts, and without any it is other.",
    )
    request_log: RequestLogSettings = RequestLogSettings()
    state_dir: NonEmptyStr | None = Field(default=None, description="Where Waiter keeps its state.")

    @model_validator(mode="after")
    def _zookeeper_where_needed(self) -> Self:
        if self.zookeeper.connect_string is None:
            if self.store.kind == "zookeeper":
                raise ValueError("store.kind: zookeeper needs zookeeper.connect-string")
            if self.cluster.min_routers > 1:
                raise ValueError("cluster.min-routers: more than one router needs zookeeper.connect-string")
        return self

    @property
    def state_path(self) -> Path:
        """The state directory: as set, or C{/var/lib} for root and the XDG state home for others."""
        if self.state_dir is not None:
            return Path(self.state_dir).absolute()
        if os.geteuid() == 0:
            return Path("/var/lib/waiter") / self.cluster.name
        home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        return Path(home) / "waiter" / self.cluster.name
