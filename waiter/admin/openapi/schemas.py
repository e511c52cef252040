"""The shapes of what goes in and out: those of descriptions and tokens as they are declared, the others by hand."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from waiter.catalog.effective import OVERRIDABLE
from waiter.model.description import ServiceDescription
from waiter.model.token_metadata import TokenMetadata

_TIME = {"type": ["string", "null"], "format": "date-time"}
_TEXT = {"type": "string"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_COUNT = {"type": "integer", "minimum": 0}
_NUMBER = {"type": "number", "minimum": 0}
_TRUTH = {"type": "boolean"}


def ref(name: str) -> dict[str, str]:
    """A schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def schemas() -> dict[str, Any]:
    """All that have names, for C{components/schemas}."""
    effective, parts = _declared(ServiceDescription)
    metadata, more_parts = _declared(TokenMetadata)
    given = {name: _given(schema) for name, schema in effective["properties"].items()}
    return {
        **parts,
        **more_parts,
        "EffectiveParameters": effective,
        "ServiceParameters": {
            "type": "object",
            "description": "Parameters of a service as somebody gave them; what is left out has its default.",
            "properties": given,
        },
        "Overrides": {
            "type": "object",
            "description": "The parameters that may be changed while a service runs.",
            "properties": {name: schema for name, schema in given.items() if name in OVERRIDABLE},
            "additionalProperties": False,
        },
        "Token": _token(given, metadata),
        "NamedToken": {
            "description": "A token, and its name where the query does not say it.",
            "allOf": [ref("Token"), {"type": "object", "properties": {"token": _TEXT}}],
        },
        **_BY_HAND,
    }


def _token(parameters: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    said = {name: _given(schema) for name, schema in metadata["properties"].items()}
    system = {
        "cluster": _TEXT,
        "deleted": _TRUTH,
        # An administrator may send milliseconds since the epoch.
        "last-update-time": {"type": ["string", "integer"]},
        "last-update-user": _TEXT,
        "previous": {"type": "object", "description": "What it was before."},
        "root": {**_TEXT, "description": "The cluster where it was made first."},
    }
    return {
        "type": "object",
        "description": "Parameters of a service, of which a token may leave out any, and what is said of the token. A "
        "run-as-user that is * or missing is whoever asks.",
        "properties": {**parameters, **said, **system},
    }


def _declared(model: type[BaseModel]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of a declaration without the names that pydantic makes up, and the schemas it refers to."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    parts = {name: _tidy(part) for name, part in schema.pop("$defs", {}).items()}
    return _tidy(schema), parts


def _tidy(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _tidy(value) for key, value in schema.items() if not (key == "title" and isinstance(value, str))}
    if isinstance(schema, list):
        return [_tidy(item) for item in schema]
    return schema


def _given(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if not (key == "default" and value is None)}


def _object(description: str, required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """An object that may have more than is listed; underscores stand for hyphens."""
    listed = {name.replace("_", "-"): schema for name, schema in properties.items()}
    schema: dict[str, Any] = {"type": "object", "description": description, "properties": listed}
    if required:
        schema["required"] = list(required)
    return schema


def _map_of(schema: Mapping[str, Any], description: str) -> dict[str, Any]:
    return {"type": "object", "description": description, "additionalProperties": schema}


_INSTANCES = {"type": "array", "items": ref("Instance")}
# No name that Python would take.
_HEALTHY: dict[str, Any] = {"healthy?": _TRUTH}

_COMMON: dict[str, Any] = {
    "status": {"type": "string", "enum": ["Running", "Starting", "Failing", "Inactive"]},
    "last_request_time": _TIME,
    "request_metrics": _object("Requests.", outstanding=_COUNT, total=_COUNT),
    "resource_usage": _object("What all instances take together.", cpus=_NUMBER, mem=_NUMBER),
    "service_description": ref("ServiceParameters"),
    "effective_parameters": ref("EffectiveParameters"),
    "source_tokens": {
        "type": "array",
        "description": "The tokens by which it was asked for, and their versions: a list for each way to ask.",
        "items": {"type": "array", "items": _object("A version of a token.", token=_TEXT, version=_TEXT)},
    },
    "current_for_tokens": {
        "type": "array",
        "description": "The tokens that stand for it now.",
        "items": _TEXT,
    },
    "references": {
        "type": "array",
        "description": "With include=references: how it was asked for; an empty object stands for headers alone.",
        "items": {"type": "object"},
    },
    "token_fallback": _object(
        "With include=token-fallback: where requests by its token go while it starts.", service_id=_TEXT
    ),
    "scaling_state": {"type": "string", "enum": ["stable", "scale-up", "scale-down"]},
    "deployment_error_message": _TEXT,
    "instability_issue": _TEXT,
    "queued_reason": _TEXT,
}

_BY_HAND: dict[str, Any] = {
    "Error": _object(
        "Why a request was not answered as it wished.",
        ("waiter-error",),
        waiter_error=_object(
            "The error.",
            ("message", "status"),
            cid={**_TEXT, "description": "The correlation id; name it when you ask for help."},
            details={"type": "object", "description": "Data about this very failure."},
            message={**_TEXT, "description": "For people; one or more lines."},
            status={"type": "integer"},
            timestamp=_TEXT,
            title=_TEXT,
        ),
    ),
    "Instance": _object(
        "An instance of a service.",
        ("id", "service-id", "healthy?"),
        id=_TEXT,
        service_id=_TEXT,
        started_at=_TIME,
        **_HEALTHY,
        health_check_status={"type": ["integer", "null"]},
        flags={"type": "array", "items": _TEXT},
        exit_code={"type": ["integer", "null"]},
        host=_TEXT,
        port={"type": "integer"},
        extra_ports={"type": "array", "items": {"type": "integer"}},
        protocol=_TEXT,
        log_directory=_TEXT_OR_NULL,
        log_url=_TEXT,
        message=_TEXT_OR_NULL,
        status=_TEXT_OR_NULL,
        last_output={"type": "array", "items": _TEXT},
        memory_mib={"type": ["number", "null"]},
        processes={"type": ["integer", "null"]},
        measured_at=_TIME,
    ),
    "ListedService": _object(
        "A service in the list of all.",
        ("service-id", "status"),
        service_id=_TEXT,
        url=_TEXT,
        instance_counts=_object("Instances.", healthy_instances=_COUNT, unhealthy_instances=_COUNT),
        instances=_object("With include=healthy-instances.", healthy_instances={"type": "array"}),
        **_COMMON,
    ),
    "Service": _object(
        "A service, even if nothing of it runs.",
        ("status", "instances"),
        instances=_object(
            "Its instances; of the dead ones the latest.",
            active_instances=_INSTANCES,
            failed_instances=_INSTANCES,
            killed_instances=_INSTANCES,
        ),
        num_active_instances=_COUNT,
        num_routers=_COUNT,
        router_id=_TEXT,
        metrics={"type": "object", "description": "With include=metrics."},
        cpu_share={"type": "object", "description": "How an instance gets its share of the processors."},
        service_description_overrides=ref("OverrideState"),
        service_suspended_state=_object(
            "Whether its requests are refused, if anybody ever said so.",
            suspended=_TRUTH,
            last_updated_by=_TEXT,
            time=_TIME,
        ),
        **_COMMON,
    ),
    "OverrideState": _object(
        "What holds for a service instead of what was asked for.",
        overrides=ref("Overrides"),
        last_updated_by=_TEXT_OR_NULL,
        time=_TIME,
    ),
    "InstanceEvents": _object(
        "A line of a watch: all healthy instances (initial), or what has changed (events).",
        ("id", "type", "object"),
        id=_TEXT,
        type={"type": "string", "enum": ["initial", "events"]},
        object=_object(
            "What there is now.",
            ("healthy-instances",),
            healthy_instances=_object("New or changed, and healthy no more.", updated=_INSTANCES, removed=_INSTANCES),
        ),
    ),
    "Done": _object("That it was done.", ("success",), success=_TRUTH, service_id=_TEXT, action=_TEXT),
    "Deleted": _object(
        "What came of it.",
        ("result", "service-id", "success"),
        message=_TEXT,
        result={"type": "string", "examples": ["deleted", "no-such-service-exists"]},
        service_id=_TEXT,
        success=_TRUTH,
        routers_agree={**_TRUTH, "description": "With a timeout: whether no router sees it any more."},
    ),
    "SignalResponse": _object(
        "What came of it.",
        ("signal-response",),
        signal_response=_object("It.", ("message", "success"), message=_TEXT, success=_TRUTH),
    ),
    "LogEntry": _object(
        "A file or directory, or an instance that has some.", name=_TEXT, type=_TEXT, size=_COUNT, url=_TEXT
    ),
    "Profile": _object("Defaults under a name.", ("name", "defaults"), name=_TEXT, defaults={"type": "object"}),
    "Ping": _object(
        "How an instance answered its health check, and how the service is.",
        ("ping-response", "service-description", "service-state"),
        ping_response=_object(
            "The answer.",
            ("result", "status"),
            result={
                "type": "string",
                "enum": [
                    "received-response",
                    "timed-out",
                    "waiter-response",
                    "descriptor-error",
                    "ping-internal-error",
                ],
            },
            status={"type": "integer"},
            headers={"type": "object"},
            body=_TEXT,
            instance=_object("Who gave it.", host=_TEXT, id=_TEXT, port={"type": "integer"}),
        ),
        service_description={"anyOf": [ref("EffectiveParameters"), {"type": "null"}]},
        service_state=_object("The service."),
    ),
    "ListedToken": _object(
        "A token in the list of all.",
        ("owner", "token"),
        token=_TEXT,
        owner=_TEXT,
        maintenance=_TRUTH,
        deleted=_TRUTH,
        etag=_TEXT_OR_NULL,
        last_update_time=_TIME,
        cluster=_TEXT,
        service_id=_TEXT_OR_NULL,
    ),
    "EditedToken": _object(
        "What came of it.",
        ("message", "service-description"),
        message=_TEXT,
        service_description=ref("ServiceParameters"),
    ),
    "DeletedToken": _object(
        "What came of it.", ("delete", "success"), delete=_TEXT, hard_delete=_TRUTH, success=_TRUTH
    ),
    "Reindexed": _object("What came of it.", ("message", "tokens"), message=_TEXT, tokens=_COUNT),
    "TokenEvents": _object(
        "A line of a watch: all tokens (INITIAL), or those that changed (EVENTS).",
        ("id", "type", "object"),
        id=_TEXT,
        type={"type": "string", "enum": ["INITIAL", "EVENTS"]},
        object={"type": "array", "items": {"type": "object"}},
    ),
    "TokenVersion": _object(
        "What a token was at some time.",
        service_description=ref("ServiceParameters"),
        service_id=_TEXT_OR_NULL,
        source_component=_TEXT,
        update_time=_TIME,
    ),
    "Welcome": _object("Who answers.", message=_TEXT, cid=_TEXT, host=_TEXT, hostname=_TEXT, port=_COUNT),
    "Consent": _object(
        "What the caller has agreed to; nulls for nothing.",
        ("x-waiter-consent",),
        x_waiter_consent=_object(
            "The cookie.",
            ("raw-content", "formatted-content"),
            raw_content=_TEXT_OR_NULL,
            formatted_content={"type": ["object", "null"]},
        ),
    ),
    "Status": _object("Whether requests may be sent here.", status=_TEXT, message=_TEXT),
    "State": _object("The inside of this router.", ("router-id",), router_id=_TEXT),
    "Settings": _map_of({}, "The settings in force, secrets hidden."),
    "Metrics": _object(
        "Counters, histograms and timers.", services=_map_of({}, "By service."), waiter=_map_of({}, "All.")
    ),
}
