"""waiter.toml and the environment, read into typed and checked settings."""

import difflib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from waiter.model.description import outside_name
from waiter.support.users import own_user

ENVIRONMENT_PREFIX = "WAITER_"
SETTINGS_VARIABLE = "WAITER_SETTINGS"

PositiveInt = Annotated[int, Field(gt=0)]
RequestTimeoutMs = Annotated[int, Field(gt=0, le=3600000)]
PositiveFloat = Annotated[float, Field(gt=0)]
Port = Annotated[int, Field(ge=1, le=65535)]


class SettingsError(Exception):
    """The settings do not hold. The text names every place that is wrong and what to do."""


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
        "they come and never held, so there is no bound if not given.",
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

    ca_file: str | None = Field(
        default=None,
        description="A file with the certificates (PEM) of the authorities that issue certificates of instances. With it, all "
        "instances have to prove who they are.",
    )
    server_name: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="The name or address that certificates of instances must be for, instead of the instance's address; on this "
        "machine that is 127.0.0.1. With it, all instances have to prove who they are.",
    )


class SchedulerSettings(Section):
    """What runs the instances."""

    kind: Literal["local"] = Field(default="local", description="local: processes of this machine.")
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


class DiscoverySettings(Section):
    """How often the world is looked at when nothing says that it has changed."""

    scheduler_interval_secs: PositiveFloat = Field(default=5, description="Seconds between looks at the scheduler.")
    router_interval_ms: PositiveInt = Field(default=1500, description="Milliseconds between looks at the router list.")


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


class RequestLogSettings(Section):
    """One JSON line per request."""

    enabled: bool = Field(default=True, description="Whether there is one.")
    path: str | None = Field(default=None, description="The file; request.log in the state directory if not given.")
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
    discovery: DiscoverySettings = DiscoverySettings()
    ejection: EjectionSettings = EjectionSettings()
    autoscaler: AutoscalerSettings = AutoscalerSettings()
    constraints: ConstraintSettings = ConstraintSettings()
    catalog: CatalogSettings = CatalogSettings()
    defaults: dict[str, Any] = Field(
        default_factory=dict, description="Service parameters for descriptions that do not give them."
    )
    request_log: RequestLogSettings = RequestLogSettings()
    state_dir: str | None = Field(default=None, description="Where Waiter keeps its state.")

    @property
    def state_path(self) -> Path:
        """The state directory: as set, or C{/var/lib} for root and the XDG state home for others."""
        if self.state_dir is not None:
            return Path(self.state_dir).absolute()
        if os.geteuid() == 0:
            return Path("/var/lib/waiter") / self.cluster.name
        home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        return Path(home) / "waiter" / self.cluster.name


def settings_path(option: str | None, environment: Mapping[str, str]) -> Path | None:
    """The settings file: what the command line says, or else the environment; C{None} if there is none."""
    path = option or environment.get(SETTINGS_VARIABLE)
    return Path(path) if path else None


def read_settings(
    *,
    path: Path | None = None,
    environment: Mapping[str, str],
    http: Sequence[str] = (),
    state_dir: str | None = None,
) -> tuple[Settings, list[str]]:
    """
    Read the settings: defaults, then the file, then the environment, then what the command line said.

    @return: the settings, and the names of C{WAITER_*} variables that mean nothing.
    @raise SettingsError: a file cannot be read, or something in it or in the environment does not hold.
    """
    tables: dict[str, Any] = {} if path is None else _read_toml(path)
    unknown = _apply_environment(tables, environment)
    if http:
        _table(tables, "listen", "--http")["http"] = list(http)
    if state_dir is not None:
        tables["state-dir"] = state_dir
    try:
        return Settings.model_validate(tables), unknown
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(error))) from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: is not TOML: {error}") from None


def environment_names() -> dict[str, tuple[str, ...]]:
    """The C{WAITER_*} variable of every setting, and the path of keys it sets."""
    names: dict[str, tuple[str, ...]] = {}
    for section_name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            for key in section.model_fields:
                names[f"{ENVIRONMENT_PREFIX}{section_name}_{key}".upper()] = (
                    outside_name(section_name),
                    outside_name(key),
                )
        else:
            names[f"{ENVIRONMENT_PREFIX}{section_name}".upper()] = (outside_name(section_name),)
    return names


def _apply_environment(tables: dict[str, Any], environment: Mapping[str, str]) -> list[str]:
    names = environment_names()
    unknown = []
    for variable, text in sorted(environment.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable == SETTINGS_VARIABLE:
            continue
        path = names.get(variable)
        if path is None:
            unknown.append(variable)
            continue
        table = tables
        for key in path[:-1]:
            table = _table(table, key, variable)
        table[path[-1]] = _environment_value(text)
    return unknown


def _table(tables: dict[str, Any], key: str, because: str) -> dict[str, Any]:
    """
    The table under C{key}, a new one if there is none.

    @param because: what sets a key of it.
    @raise SettingsError: there is something else.
    """
    table = tables.setdefault(key, {})
    if not isinstance(table, dict):
        raise SettingsError(f"{key}: must be a table, because {because} sets a key of it")
    return table


def _environment_value(text: str) -> Any:
    """A JSON list or object is taken as such; numbers and booleans are made of texts where the setting is one."""
    if text.lstrip().startswith(("[", "{")):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _explain(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors():
        where = [str(part) for part in problem["loc"]]
        path = ".".join(where)
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(where[-1], _known_keys(where[:-1]), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            lines.append(f"{path}: there is no such setting{hint}")
        else:
            is_no_list = problem["type"] == "tuple_type"
            message = (
                "must be a list; in a variable, one in JSON"
                if is_no_list
                else problem["msg"].removeprefix("Value error, ")
            )
            lines.append(f"{path}: {message} (it is {problem['input']!r})" if path else message)
    return lines


def _known_keys(path: Sequence[str]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in path:
        field = model.model_fields.get(part.replace("-", "_"))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return []
        model = field.annotation
    return [outside_name(name) for name in model.model_fields]
