"""What an app may be: the constraints of Marathon's published schema, and the values of what is left out."""

import json
from pathlib import Path

from jsonschema import Draft4Validator

# AppDefinition.json of Marathon's public API (Apache License 2.0) without its descriptions.
_SCHEMA = json.loads(Path(__file__).with_name("app_definition.json").read_text())
_WHOLE = Draft4Validator(_SCHEMA)
_CHANGE = Draft4Validator({key: value for key, value in _SCHEMA.items() if key != "required"})

DEFAULTS = {
    "acceptedResourceRoles": None,
    "args": None,
    "backoffFactor": 1.15,
    "backoffSeconds": 1,
    "cmd": None,
    "constraints": [],
    "container": None,
    "cpus": 0.1,
    "dependencies": [],
    "disk": 0,
    "env": {},
    "executor": "",
    "healthChecks": [],
    "instances": 1,
    "labels": {},
    "maxLaunchDelaySeconds": 3600,
    "mem": 128,
    "ports": [0],
    "requirePorts": False,
    "upgradeStrategy": {"minimumHealthCapacity": 1, "maximumOverCapacity": 1},
    "uris": [],
    "user": None,
}
_CHECK_DEFAULTS = {
    "gracePeriodSeconds": 300,
    "ignoreHttp1xx": False,
    "intervalSeconds": 60,
    "maxConsecutiveFailures": 3,
    "path": "/",
    "portIndex": 0,
    "protocol": "HTTP",
    "timeoutSeconds": 20,
}


def problems(app, *, whole):
    """
    What is wrong with an app, as Marathon's C{details}.

    @param whole: whether it must be complete, and is not just a change of another.
    """
    # What is null is as if it were not there.
    given = {key: value for key, value in app.items() if value is not None}
    errors = (_WHOLE if whole else _CHANGE).iter_errors(given)
    found = [{"path": _path(error.absolute_path), "errors": [error.message]} for error in errors]

    def wrong(path, error):
        found.append({"path": path, "errors": [error]})

    commands = sum(key in given for key in ("cmd", "args"))
    if commands > 1 or (whole and not commands and "container" not in given):
        wrong("", "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'.")
    if not found:
        ports = given.get("ports")
        for index, check in enumerate(given.get("healthChecks", ())):
            if ports is not None and check.get("portIndex", 0) >= len(ports):
                wrong(
                    f"/healthChecks({index})/portIndex",
                    "Health check port indices must address an element of the ports array.",
                )
    return found


def _path(parts):
    return "".join(f"({part})" if isinstance(part, int) else f"/{part}" for part in parts)


def completed(app):
    """The same with the values of what was left out."""
    whole = {**DEFAULTS, **{key: value for key, value in app.items() if key not in {"version", "versionInfo"}}}
    whole["id"] = "/" + whole["id"].lstrip("/")
    whole["healthChecks"] = [{**_CHECK_DEFAULTS, **check} for check in whole["healthChecks"] or ()]
    return whole
