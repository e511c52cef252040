"""What a service is, in the words of the person who asks for it."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import attrs
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

from waiter.model.checks import (
    Command,
    Integer,
    MetricGroup,
    Number,
    Path,
    Says,
    ShortWord,
    Truth,
    User,
    Word,
    shown,
    wrong,
)
from waiter.model.environment import Environment, Metadata, VariableNames
from waiter.model.frozen import FrozenDict

# Counts and durations beyond this help nobody, and keep arithmetic, timers and JSON readers out of trouble.
_LARGEST = 2**31 - 1
_LONGEST_VERSION = 2048

# Schedulers that ask one question instead of two go by the health check.
_LIVENESS = (
    "For schedulers that tell an instance that lives from one that serves, none of which is here; if not given as"
)


def outside_name(name: str) -> str:
    """C{concurrency_level} is C{concurrency-level} in headers, tokens and JSON."""
    return name.replace("_", "-")


def _only_short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _LONGEST_VERSION:
        raise wrong(f"version must have at most {_LONGEST_VERSION} characters.")
    return value


def _only_http1(value: Any, info: ValidationInfo) -> Any:
    if value in ("h2", "h2c"):
        parameter = outside_name(str(info.field_name))
        raise wrong(f"{parameter} {value} is not supported: Waiter speaks HTTP/1.1 with instances; use http or https.")
    return value


def _only_shell(value: Any) -> Any:
    if value != "shell":
        raise wrong(f"Command type {shown(value)} is not supported: cmd is run by a shell; leave cmd-type out.")
    return value


def _only_through_waiter(value: Any) -> Any:
    if value in ("headless", "ingress-centralized", "ingress-distributed"):
        raise wrong(f"routing-mode {value} is not supported: requests always pass through Waiter; use default.")
    return value


Proto = Annotated[Literal["http", "https"], BeforeValidator(_only_http1)]
Authentication = Literal["standard", "disabled"]
CheckInterval = Annotated[Integer, Field(ge=5, le=600)]
CheckFailures = Annotated[Integer, Field(ge=1, le=36)]
PortIndex = Annotated[Integer, Field(ge=0, le=9)]


class ServiceDescription(BaseModel):
    """
    The effective description of a service: every parameter, defaults applied.

    The outside names of the fields have hyphens. What it holds is checked, each parameter and their relations, so that
    whoever has one need not look again. Equal ones have equal hashes.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=outside_name, validate_by_name=True, validate_by_alias=True
    )

    cmd: Annotated[Command, Says("cmd must be a non-empty string.")] = Field(
        description="The command line that starts an instance, run by a shell."
    )
    cpus: Annotated[Number, Says("cpus must be a positive number.")] = Field(
        gt=0, description="CPUs one instance needs."
    )
    mem: Annotated[Number, Says("mem must be a positive number.")] = Field(
        gt=0, description="Memory one instance needs and may use, in MiB."
    )
    run_as_user: Annotated[User, Says("run-as-user must be a non-empty string of at most 256 characters.")] = Field(
        description="The user that runs the instances; with headers, the caller if not given."
    )
    version: Annotated[Word, BeforeValidator(_only_short), Says("version must be a non-empty string.")] = Field(
        max_length=_LONGEST_VERSION, description="Any text; another version is another service."
    )

    allowed_params: Annotated[VariableNames, Says("allowed-params is invalid.")] = Field(
        (), description="Environment variables that a request may set with x-waiter-param-<name>."
    )
    authentication: Annotated[
        Authentication,
        Says(
            "authentication must be 'disabled', 'standard', or the specific authentication scheme if supported by the "
            "configured authenticator.",
            overridable=True,
        ),
    ] = Field(
        "standard",
        description="Whether callers have to say who they are; disabled lets anybody in. Set by tokens, not by headers.",
    )
    backend_proto: Annotated[Proto, Says("backend-proto must be one of http or https.")] = Field(
        "http", description="The protocol instances speak."
    )
    cmd_type: Annotated[Literal["shell"], BeforeValidator(_only_shell), Says("cmd-type must be shell.")] = Field(
        "shell", description="How cmd is run."
    )
    concurrency_level: Annotated[
        Integer, Says("concurrency-level must be an integer in the range [1, 10000].", overridable=True)
    ] = Field(1, ge=1, le=10000, description="Requests in flight per instance.")
    distribution_scheme: Annotated[
        Literal["balanced", "simple"], Says("distribution-scheme must be one of balanced or simple.", overridable=True)
    ] = Field("balanced", description="How several routers share the instances.")
    env: Annotated[Environment, Says("env is invalid.")] = Field(
        default_factory=FrozenDict, description="Environment variables of the instances."
    )
    expired_instance_restart_rate: Annotated[
        Number, Says("expired-instance-restart-rate must be a number in the range (0, 1].", overridable=True)
    ] = Field(0.1, gt=0, le=1, description="The share of expired instances replaced at a time.")
    grace_period_secs: Annotated[
        Integer, Says("grace-period-secs must be an integer in the range [0, 3600].", overridable=True)
    ] = Field(30, ge=0, le=3600, description="Seconds an instance may take to become healthy; 0 for ever.")
    health_check_authentication: Annotated[
        Authentication, Says("health-check-authentication must be one of standard or disabled.")
    ] = Field("disabled", description="Whether checks carry the credentials that requests do.")
    health_check_interval_secs: Annotated[
        CheckInterval, Says("health-check-interval-secs must be an integer in the range [5, 600].", overridable=True)
    ] = Field(10, description="Seconds between checks of a healthy instance.")
    health_check_max_consecutive_failures: Annotated[
        CheckFailures,
        Says("health-check-max-consecutive-failures must be an integer in the range [1, 36].", overridable=True),
    ] = Field(5, description="Failed checks in a row after which an instance is replaced.")
    health_check_port_index: Annotated[
        PortIndex, Says("health-check-port-index must be an integer in the range [0, 9].")
    ] = Field(0, description="Which of the ports is checked.")
    health_check_proto: Annotated[
        Proto | None, Says("health-check-proto, when provided, must be one of http or https.")
    ] = Field(None, description="The protocol of the check; backend-proto if not given.")
    health_check_url: Annotated[
        Path, Says("health-check-url must begin with / and have at most 2048 ASCII characters and no spaces.")
    ] = Field("/status", description="The path that answers 2xx when an instance is healthy.")
    idle_timeout_mins: Annotated[
        Number, Says("idle-timeout-mins must be a number in the range [0, 43200].", overridable=True)
    ] = Field(30, ge=0, le=43200, description="Minutes without requests after which a service is stopped; 0 for never.")
    instance_expiry_mins: Annotated[
        Integer, Says("instance-expiry-mins must be an integer that is not negative.", overridable=True)
    ] = Field(7200, ge=0, le=_LARGEST, description="Minutes after which an instance is replaced; 0 for never.")
    interstitial_secs: Annotated[
        Integer,
        Says("interstitial-secs must be an integer in the range [0, 3600].", overridable=True),
    ] = Field(
        0,
        ge=0,
        le=3600,
        description="Seconds for which browsers are shown a waiting page while the service starts; 0 for none. For tokens.",
    )
    jitter_threshold: Annotated[
        Number, Says("jitter-threshold must be a number in the range [0, 1).", overridable=True)
    ] = Field(0.5, ge=0, lt=1, description="How far the target must be from the current number before scaling.")
    liveness_check_authentication: Annotated[
        Authentication, Says("liveness-check-authentication must be one of standard or disabled.")
    ] = Field("disabled", description=f"{_LIVENESS} health-check-authentication.")
    liveness_check_interval_secs: Annotated[
        CheckInterval,
        Says("liveness-check-interval-secs must be an integer in the range [5, 600].", overridable=True),
    ] = Field(10, description=f"{_LIVENESS} health-check-interval-secs.")
    liveness_check_max_consecutive_failures: Annotated[
        CheckFailures,
        Says("liveness-check-max-consecutive-failures must be an integer in the range [1, 36].", overridable=True),
    ] = Field(5, description=f"{_LIVENESS} health-check-max-consecutive-failures.")
    liveness_check_port_index: Annotated[
        PortIndex, Says("liveness-check-port-index must be an integer in the range [0, 9].")
    ] = Field(0, description=f"{_LIVENESS} health-check-port-index.")
    liveness_check_proto: Annotated[
        Proto | None, Says("liveness-check-proto, when provided, must be one of http or https.")
    ] = Field(None, description=f"{_LIVENESS} health-check-proto.")
    liveness_check_url: Annotated[
        Path, Says("liveness-check-url must begin with / and have at most 2048 ASCII characters and no spaces.")
    ] = Field("/status", description=f"{_LIVENESS} health-check-url.")
    load_balancing: Annotated[
        Literal["oldest", "youngest", "random"],
        Says("load-balancing must be one of 'oldest', 'youngest' or 'random'.", overridable=True),
    ] = Field("oldest", description="Which of the free instances serves.")
    max_instances: Annotated[Integer, Says("max-instances must be between 1 and 2000.", overridable=True)] = Field(
        500, ge=1, le=2000, description="Never more instances than this."
    )
    max_queue_length: Annotated[Integer, Says("max-queue-length must be a positive integer.", overridable=True)] = (
        Field(1000000, gt=0, le=_LARGEST, description="Requests that may wait, per router.")
    )
    metadata: Annotated[Metadata, Says("metadata is invalid.")] = Field(
        default_factory=FrozenDict, description="Free words about the service."
    )
    metric_group: Annotated[
        MetricGroup | None,
        Says(
            "metric-group must have 2 to 32 characters: lower-case letters, numbers, and single dashes or underscores "
            "between them, beginning with a letter."
        ),
    ] = Field(
        None,
        description="A word for grouping metrics, which instances find in WAITER_METRIC_GROUP.",
    )
    min_instances: Annotated[Integer, Says("min-instances must be between 0 and 2000.", overridable=True)] = Field(
        1, ge=0, le=2000, description="Never fewer instances than this while in use."
    )
    name: Annotated[ShortWord | None, Says("name must be a non-empty string of at most 128 characters.")] = Field(
        None, description="A name for people; begins the service id."
    )
    namespace: Annotated[User | None, Says("Service namespace must either be omitted or match the run-as-user.")] = (
        Field(None, description="May be given, and is then the same as run-as-user.")
    )
    permitted_user: Annotated[User, Says("permitted-user must be a non-empty string of at most 256 characters.")] = (
        Field("*", description="Who may send requests, * for everybody; with headers, the caller if not given.")
    )
    pin: Annotated[Truth, Says("pin must be true or false.", overridable=True)] = Field(
        False, description="Whether idle instances stay when other services need their room."
    )
    ports: Annotated[Integer, Says("ports must be an integer in the range [1, 10].")] = Field(
        1, ge=1, le=10, description="How many ports an instance gets, as PORT0, PORT1, ..."
    )
    profile: Annotated[ShortWord | None, Says("profile must be the name of a profile.")] = Field(
        None, description="The name of a profile of the settings, whose values stand for what is not given."
    )
    restart_backoff_factor: Annotated[
        Number, Says("restart-backoff-factor must be a number in the range [1, 1000].", overridable=True)
    ] = Field(2, ge=1, le=1000, description="How much longer each pause between restarts of a failing instance is.")
    routing_mode: Annotated[
        Literal["default", "waiter-router"],
        BeforeValidator(_only_through_waiter),
        Says("routing-mode must be one of default or waiter-router."),
    ] = Field("default", description="How requests reach instances; always through Waiter.")
    scale_down_factor: Annotated[
        Number, Says("scale-down-factor must be a double in the range (0, 1).", overridable=True)
    ] = Field(0.001, gt=0, lt=1, description="How fast the number of instances falls.")
    scale_factor: Annotated[Number, Says("scale-factor must be a double in the range (0, 2].", overridable=True)] = (
        Field(1, gt=0, le=2, description="Instances wanted per outstanding request.")
    )
    scale_up_factor: Annotated[
        Number, Says("scale-up-factor must be a double in the range (0, 1).", overridable=True)
    ] = Field(0.1, gt=0, lt=1, description="How fast the number of instances rises.")
    termination_grace_period_secs: Annotated[
        Integer, Says("termination-grace-period-secs must be an integer in the range [0, 300].", overridable=True)
    ] = Field(0, ge=0, le=300, description="Seconds between asking an instance to stop and killing it.")

    @model_validator(mode="after")
    def _consistent(self) -> "ServiceDescription":
        if contradictions := list(self._contradictions()):
            raise wrong(
                "\n".join(sentence for sentence, _ in contradictions),
                parameters=dict.fromkeys(name for _, names in contradictions for name in names),
            )
        return self

    def _contradictions(self) -> Iterator[tuple[str, Sequence[str]]]:
        if self.min_instances > self.max_instances:
            yield (
                f"min-instances ({self.min_instances}) must be less than or equal to max-instances ({self.max_instances})",
                ("min-instances", "max-instances"),
            )
        checks = list(self._checks())
        for check in checks:
            if check.authentication == "standard" and self.authentication == "disabled":
                yield (
                    f"The {check.name} check authentication (standard) cannot be enabled when authentication (disabled) is disabled",
                    (f"{check.name}-check-authentication", "authentication"),
                )
        for check in checks:
            if check.port_index >= self.ports:
                yield (
                    f"The {check.name} check port index ({check.port_index}) must be smaller than ports ({self.ports})",
                    (f"{check.name}-check-port-index", "ports"),
                )
        for check in checks:
            if check.port_index == 0 and check.proto != self.backend_proto:
                protos = f"The backend-proto ({self.backend_proto}) and {check.name} check proto ({check.proto})"
                yield (
                    f"{protos} must match when {check.name}-check-port-index is zero",
                    ("backend-proto", f"{check.name}-check-proto"),
                )
        if self.namespace is not None and self.namespace != self.run_as_user:
            yield "Service namespace must either be omitted or match the run-as-user.", ("namespace",)

    def _checks(self) -> Iterator["_Check"]:
        """The check of health, and that of liveness where it is another."""
        health = _Check(
            name="health",
            authentication=self.health_check_authentication,
            port_index=self.health_check_port_index,
            proto=self.health_check_proto or self.backend_proto,
        )
        yield health
        liveness = _Check(
            name="liveness",
            authentication=self.liveness_check_authentication,
            port_index=self.liveness_check_port_index,
            proto=self.liveness_check_proto or self.backend_proto,
        )
        if attrs.evolve(liveness, name=health.name) != health:
            yield liveness


@attrs.frozen(kw_only=True)
class _Check:
    """What a check of an instance and the rest of a description must agree on."""

    name: str
    authentication: str
    port_index: int
    proto: str
