"""What a service is, in the words of the person who asks for it."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Proto = Literal["http", "https"]
NonEmpty = Annotated[str, Field(min_length=1, pattern=r"\S")]


def outside_name(name: str) -> str:
    """C{concurrency_level} is C{concurrency-level} in headers, tokens and JSON."""
    return name.replace("_", "-")


class ServiceDescription(BaseModel):
    """
    The effective description of a service: every parameter, defaults applied.

    The field names with hyphens are the outside names. Ranges and defaults: spec/surface 6.1, except that
    C{min-instances} may be 0 and C{idle-timeout-mins} may be a fraction.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=outside_name, validate_by_name=True, validate_by_alias=True
    )

    cmd: NonEmpty = Field(description="The command line that starts an instance, run by a shell.")
    cpus: float = Field(gt=0, description="CPUs one instance needs.")
    mem: float = Field(gt=0, description="Memory one instance needs and may use, in MiB.")
    run_as_user: NonEmpty = Field(description="The user that runs the instances.")
    version: NonEmpty = Field(description="Any text; another version is another service.")

    backend_proto: Proto = Field("http", description="The protocol instances speak.")
    cmd_type: Literal["shell"] = Field("shell", description="How cmd is run.")
    concurrency_level: int = Field(1, ge=1, le=10000, description="Requests in flight per instance.")
    distribution_scheme: Literal["balanced", "simple"] = Field(
        "balanced", description="How several routers share the instances."
    )
    env: Mapping[str, str] = Field(default_factory=dict, description="Environment variables of the instances.")
    expired_instance_restart_rate: float = Field(
        0.1, gt=0, le=1, description="The share of expired instances replaced at a time."
    )
    grace_period_secs: int = Field(
        30, ge=0, le=3600, description="Seconds an instance may take to become healthy; 0 for ever."
    )
    health_check_interval_secs: int = Field(
        10, ge=5, le=600, description="Seconds between checks of a healthy instance."
    )
    health_check_max_consecutive_failures: int = Field(
        5, ge=1, le=36, description="Failed checks in a row after which an instance is replaced."
    )
    health_check_port_index: int = Field(0, ge=0, le=9, description="Which of the ports is checked.")
    health_check_proto: Proto | None = Field(None, description="The protocol of the check; backend-proto if not given.")
    health_check_url: NonEmpty = Field("/status", description="The path that answers 2xx when an instance is healthy.")
    idle_timeout_mins: float = Field(
        30, ge=0, le=43200, description="Minutes without requests after which a service is stopped; 0 for never."
    )
    instance_expiry_mins: int = Field(
        7200, ge=0, description="Minutes after which an instance is replaced; 0 for never."
    )
    jitter_threshold: float = Field(
        0.5, ge=0, lt=1, description="How far the target must be from the current number before scaling."
    )
    load_balancing: Literal["oldest", "youngest", "random"] = Field(
        "oldest", description="Which of the free instances serves."
    )
    max_instances: int = Field(500, ge=1, le=2000, description="Never more instances than this.")
    max_queue_length: int = Field(1000000, gt=0, description="Requests that may wait, per router.")
    metadata: Mapping[str, str] = Field(default_factory=dict, description="Free words about the service.")
    min_instances: int = Field(1, ge=0, le=2000, description="Never fewer instances than this while in use.")
    name: NonEmpty | None = Field(None, description="A name for people; begins the service id.")
    permitted_user: NonEmpty = Field("*", description="Who may send requests; * for everybody.")
    ports: int = Field(1, ge=1, le=10, description="How many ports an instance gets, as PORT0, PORT1, ...")
    restart_backoff_factor: float = Field(
        2, ge=1, description="How much longer each pause between restarts of a failing instance is."
    )
    scale_down_factor: float = Field(0.001, gt=0, lt=1, description="How fast the number of instances falls.")
    scale_factor: float = Field(1, gt=0, le=2, description="Instances wanted per outstanding request.")
    scale_up_factor: float = Field(0.1, gt=0, lt=1, description="How fast the number of instances rises.")
    termination_grace_period_secs: int = Field(
        0, ge=0, le=300, description="Seconds between asking an instance to stop and killing it."
    )
