"""Between Marathon's JSON and Waiter's values: pure rules."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from waiter.model.description import ServiceDescription
from waiter.model.instance import Flag, Instance
from waiter.model.service import Service
from waiter.scheduler.environment import service_environment

#: Tasks in these states are dead, or will be in a moment.
ENDED = frozenset(
    {
        "TASK_DROPPED",
        "TASK_ERROR",
        "TASK_FAILED",
        "TASK_FINISHED",
        "TASK_GONE",
        "TASK_GONE_BY_OPERATOR",
        "TASK_KILLED",
        "TASK_KILLING",
        "TASK_LOST",
    }
)
#: Tasks that end in one of these have failed.
FAILURES = frozenset({"TASK_ERROR", "TASK_FAILED", "TASK_GONE", "TASK_LOST", "TASK_DROPPED"})

_HEALTH_TIMEOUT_SECS = 20
_EXIT = "Command exited with status"
_SIGNAL = re.compile(r"Command terminated with signal (\w+)")
_OUT_OF_MEMORY = "Memory limit exceeded:"
_UNHEALTHY = "Task was killed since health check failed"


@attrs.frozen(kw_only=True)
class Place:
    """
    Where to find the files of tasks.

    @ivar directory: the agents' working directory for tasks.
    @ivar framework_id: Marathon's name at Mesos; C{None} if not known.
    """

    directory: str
    framework_id: str | None = None

    def of(self, agent_id: object, task_id: str) -> str | None:
        """The directory of a task on its agent; C{None} if it cannot be told."""
        if not isinstance(agent_id, str) or not agent_id or self.framework_id is None:
            return None
        return f"{self.directory}/{agent_id}/frameworks/{self.framework_id}/executors/{task_id}/runs/latest"


@attrs.frozen(kw_only=True)
class App:
    """
    What Marathon says of one service.

    @ivar instances: how many it is to run.
    @ivar tasks: those that live.
    @ivar failure: the latest failure, if there is one.
    @ivar deployments: ids of those that change it now.
    """

    service_id: str
    instances: int
    cpus: float
    mem: float
    tasks: tuple[Instance, ...]
    failure: Instance | None = None
    deployments: tuple[str, ...] = ()


def app_path(service_id: str) -> str:
    """The app's id at Marathon."""
    return f"/{service_id}"


def service_id_of(app_id: object, prefix: str) -> str | None:
    """The service that an app is; C{None} if it is no service."""
    if not isinstance(app_id, str):
        return None
    service_id = app_id.removeprefix("/")
    return service_id if service_id.startswith(prefix) and "/" not in service_id else None


def app_json(
    service: Service,
    *,
    cluster: str,
    password: str,
    home_prefix: str = "/home/",
    init_commands: Sequence[str] = ("/bin/bash", "-c"),
) -> dict[str, Any]:
    """
    The app to post for a service.

    @param home_prefix: what comes before the user's name in C{HOME}.
    @param init_commands: what is run with the service's command as its last argument.
    """
    description = service.description
    labels = {"source": "waiter", "user": description.run_as_user}
    if description.namespace is not None:
        labels["namespace"] = description.namespace
    app = {
        "id": app_path(service.id),
        "args": [*init_commands, description.cmd],
        "backoffFactor": description.restart_backoff_factor,
        "cpus": description.cpus,
        "disk": 0,
        "env": service_environment(
            description,
            cluster=cluster,
            service_id=service.id,
            home=home_prefix + description.run_as_user,
            password=password,
        ),
        "healthChecks": [_health_check(description)],
        "labels": labels,
        "mem": description.mem,
        "ports": [0] * description.ports,
        "user": description.run_as_user,
    }
    if description.termination_grace_period_secs > 0:
        app["taskKillGracePeriodSeconds"] = description.termination_grace_period_secs
    return app


def _health_check(description: ServiceDescription) -> dict[str, Any]:
    grace_secs = description.grace_period_secs or 2 * 60 * description.instance_expiry_mins
    return {
        "protocol": (description.health_check_proto or description.backend_proto).upper(),
        "path": description.health_check_url,
        "gracePeriodSeconds": grace_secs,
        "intervalSeconds": description.health_check_interval_secs,
        "portIndex": description.health_check_port_index,
        "timeoutSeconds": _HEALTH_TIMEOUT_SECS,
        "maxConsecutiveFailures": description.health_check_max_consecutive_failures,
    }


def scale_json(app: Mapping[str, Any], instances: int) -> dict[str, Any]:
    """What to put to change the number of instances of an app that was got."""
    kept = {key: app[key] for key in ("cmd", "cpus", "id", "mem") if app.get(key) is not None}
    return kept | {"instances": instances}


def read_app(
    app: Mapping[str, Any], service_id: str, *, place: Place, known: Mapping[str, Instance] | None = None
) -> App:
    """
    @param app: with its tasks, as it was listed.
    @param known: instances as they were read before, by id; those that are as they were are used again.
    @raise ValueError: it is not what an app looks like.
    """
    try:
        tasks = tuple(_living(app.get("tasks") or (), service_id, place, known or {}))
        failure = app.get("lastTaskFailure")
        return App(
            service_id=service_id,
            instances=int(app["instances"]),
            cpus=float(app.get("cpus") or 0),
            mem=float(app.get("mem") or 0),
            tasks=tasks,
            failure=None if failure is None else read_failure(failure, service_id, place=place),
            deployments=tuple(each["id"] for each in app.get("deployments") or ()),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"the app {service_id} is not understood: {error!r}") from None


def _living(
    tasks: Sequence[Mapping[str, Any]], service_id: str, place: Place, known: Mapping[str, Instance]
) -> Iterator[Instance]:
    for task in tasks:
        if task.get("state") not in ENDED:
            instance = read_task(task, service_id, place=place)
            before = known.get(instance.id)
            yield before if before is not None and before == instance else instance


def read_task(task: Mapping[str, Any], service_id: str, *, place: Place) -> Instance:
    """A task as an instance; its health is unknown unless Marathon's checks find that it is healthy."""
    task_id = instance_id_of(task["id"])
    ports = [int(port) for port in task.get("ports") or ()]
    healthy = is_healthy(task.get("healthCheckResults") or ())
    return Instance(
        id=task_id,
        service_id=service_id,
        started_at=read_time(task.get("startedAt")),
        healthy=True if healthy else None,
        host=task.get("host") or "0.0.0.0",  # noqa: S104 - the word for an unknown host, never bound
        port=ports[0] if ports else 0,
        extra_ports=tuple(ports[1:]),
        log_directory=place.of(task.get("slaveId"), task_id),
        status="Healthy" if healthy else None,
    )


def is_healthy(results: Sequence[Mapping[str, Any] | None]) -> bool:
    """Whether there is a check, and all say that it is alive and have not failed lately."""
    return bool(results) and all(
        result is not None and result.get("alive") and not result.get("consecutiveFailures") for result in results
    )


def read_failure(failure: Mapping[str, Any], service_id: str, *, place: Place) -> Instance:
    """
    What C{lastTaskFailure}, or an event about a task that failed, says.

    @raise KeyError: it does not say of which task.
    """
    task_id = instance_id_of(failure["taskId"])
    message = failure.get("message") or ""
    flags, exit_code = what_happened(message)
    said = None if exit_code is not None or not message else _sentence(message)
    return Instance(
        id=task_id,
        service_id=service_id,
        started_at=read_time(failure.get("timestamp")),
        healthy=False,
        host=failure.get("host") or "0.0.0.0",  # noqa: S104 - the word for an unknown host, never bound
        flags=flags,
        exit_code=exit_code,
        log_directory=place.of(failure.get("slaveId"), task_id),
        message=said,
    )


def what_happened(message: str) -> tuple[frozenset[Flag], int | None]:
    """What Mesos' words about the end of a task mean: the flags and the exit code."""
    flags: frozenset[Flag] = frozenset()
    if _OUT_OF_MEMORY in message:
        flags = frozenset({Flag.MEMORY_LIMIT_EXCEEDED})
    if _UNHEALTHY in message:
        flags = frozenset({Flag.NEVER_PASSED_HEALTH_CHECKS})
    exit_code = None
    if _EXIT in message:
        last = message.rsplit(maxsplit=1)[-1]
        exit_code = int(last) if re.fullmatch(r"-?[0-9]{1,9}", last) else None
    return flags, exit_code


def instance_id_of(task_id: object) -> str:
    """
    @raise KeyError: that is no task id.
    """
    if not isinstance(task_id, str) or not task_id:
        raise KeyError("the id of a task")
    return task_id.replace("/", "")


def read_time(text: object) -> float | None:
    """Seconds since the epoch; C{None} if it is no time."""
    if not isinstance(text, str):
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None


def old_stop(deployment: Mapping[str, Any], *, now: float, older_than_secs: float) -> bool:
    """Whether a deployment has been stopping an app for so long that it will not end by itself."""
    began = read_time(deployment.get("version"))
    return began is not None and now - began > older_than_secs and "StopApplication" in actions(deployment)


def actions(deployment: Mapping[str, Any]) -> set[str]:
    """What a deployment does, in all its steps."""
    return {action["action"] for action in _actions(deployment) if "action" in action}


def affects(deployment: Mapping[str, Any], service_id: str) -> bool:
    """Whether a deployment changes a service."""
    return app_path(service_id) in (deployment.get("affectedApps") or ())


def _actions(deployment: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from deployment.get("currentActions") or ()
    for step in deployment.get("steps") or ():
        # Before Marathon 1.0 a step was the list of its actions.
        yield from step.get("actions") or () if isinstance(step, Mapping) else step


def locking_deployments(refusal: object) -> list[str]:
    """The ids of the deployments that a refusal with 409 names."""
    named = refusal.get("deployments") if isinstance(refusal, Mapping) else None
    return [each["id"] for each in named or () if isinstance(each, Mapping) and isinstance(each.get("id"), str)]


def words(answer: object) -> str:
    """What Marathon says in an answer that is an error, in one line."""
    if not isinstance(answer, Mapping):
        return ""
    said = [str(answer.get("message") or "").strip()]
    said += [
        f"{detail.get('path', '')}: {', '.join(map(str, detail.get('errors') or ()))}"
        for detail in answer.get("details") or ()
        if isinstance(detail, Mapping)
    ]
    return " ".join(filter(None, said))


def _sentence(message: str) -> str:
    signal = _SIGNAL.search(message)
    text = f"The command was ended by the signal {signal[1]}." if signal else " ".join(message.split())
    return text if len(text) <= 500 else f"{text[:500]}..."
