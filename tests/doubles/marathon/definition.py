"""What an app may be: a condensed form of Marathon's published rules, and the values of what is left out."""

import re

_SEGMENT = r"([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])"
_ID = re.compile(rf"/?(({_SEGMENT}\.)*{_SEGMENT}|\.|\.\.)(/(({_SEGMENT}\.)*{_SEGMENT}|\.|\.\.))*")

NUMBER, INTEGER, TEXT, TRUTH, LIST, MAP = "number", "integer", "string", "boolean", "array", "object"
_TYPES = {
    NUMBER: lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    INTEGER: lambda value: isinstance(value, int) and not isinstance(value, bool),
    TEXT: lambda value: isinstance(value, str),
    TRUTH: lambda value: isinstance(value, bool),
    LIST: lambda value: isinstance(value, list),
    MAP: lambda value: isinstance(value, dict),
}

#: Every key that an app may have, and its type.
APP = {
    "acceptedResourceRoles": LIST,
    "args": LIST,
    "backoffFactor": NUMBER,
    "backoffSeconds": INTEGER,
    "cmd": TEXT,
    "constraints": LIST,
    "container": MAP,
    "cpus": NUMBER,
    "dependencies": LIST,
    "disk": NUMBER,
    "env": MAP,
    "executor": TEXT,
    "executorResources": MAP,
    "fetch": LIST,
    "gpus": INTEGER,
    "healthChecks": LIST,
    "id": TEXT,
    "instances": INTEGER,
    "ipAddress": MAP,
    "killSelection": TEXT,
    "labels": MAP,
    "maxLaunchDelaySeconds": INTEGER,
    "mem": NUMBER,
    "networks": LIST,
    "portDefinitions": LIST,
    "ports": LIST,
    "readinessChecks": LIST,
    "requirePorts": TRUTH,
    "residency": MAP,
    "secrets": MAP,
    "taskKillGracePeriodSeconds": INTEGER,
    "tty": TRUTH,
    "unreachableStrategy": MAP,
    "upgradeStrategy": MAP,
    "uris": LIST,
    "user": TEXT,
    "version": TEXT,
    "versionInfo": MAP,
}
HEALTH_CHECK = {
    "command": MAP,
    "delaySeconds": INTEGER,
    "gracePeriodSeconds": INTEGER,
    "ignoreHttp1xx": TRUTH,
    "intervalSeconds": INTEGER,
    "ipProtocol": TEXT,
    "maxConsecutiveFailures": INTEGER,
    "path": TEXT,
    "port": INTEGER,
    "portIndex": INTEGER,
    "protocol": TEXT,
    "timeoutSeconds": INTEGER,
}
LEAST = {
    "backoffFactor": 1,
    "backoffSeconds": 0,
    "cpus": 0,
    "disk": 0,
    "instances": 0,
    "maxLaunchDelaySeconds": 0,
    "mem": 0,
    "taskKillGracePeriodSeconds": 0,
}
PROTOCOLS = {"HTTP", "HTTPS", "TCP", "COMMAND", "MESOS_HTTP", "MESOS_HTTPS", "MESOS_TCP"}

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
    found = []

    def wrong(path, error):
        found.append({"path": path, "errors": [error]})

    _check_object(app, APP, "", wrong)
    for key, least in LEAST.items():
        if _TYPES[NUMBER](app.get(key)) and app[key] < least:
            wrong(f"/{key}", f"error.min: must be at least {least}")
    if isinstance(app.get("id"), str) and not _ID.fullmatch(app["id"]):
        wrong("/id", "must fully match regular expression")
    if app.get("cmd") is not None and app.get("args") is not None:
        wrong("", "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'.")
    if whole:
        if "id" not in app:
            wrong("/id", "error.path.missing")
        if all(app.get(key) is None for key in ("cmd", "args", "container")):
            wrong("", "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'.")
    for key in ("env", "labels"):
        for name, value in (app.get(key) or {}).items():
            if not isinstance(value, str) and not (key == "env" and isinstance(value, dict)):
                wrong(f"/{key}({name})", "error.expected.jsstring")
    for index, each in enumerate(app.get("args") or ()):
        if not isinstance(each, str):
            wrong(f"/args({index})", "error.expected.jsstring")
    ports = app.get("ports")
    for index, port in enumerate(ports or ()):
        if not _TYPES[INTEGER](port) or not 0 <= port <= 65535:
            wrong(f"/ports({index})", "must be between 0 and 65535")
    for index, check in enumerate(app.get("healthChecks") or ()):
        path = f"/healthChecks({index})"
        _check_object(check, HEALTH_CHECK, path, wrong)
        if check.get("protocol", "HTTP") not in PROTOCOLS:
            wrong(f"{path}/protocol", "error.unknown.enum.literal")
        if ports is not None and check.get("portIndex", 0) >= len(ports):
            wrong(f"{path}/portIndex", "Health check port indices must address an element of the ports array.")
        for key in ("gracePeriodSeconds", "intervalSeconds", "maxConsecutiveFailures", "timeoutSeconds"):
            if _TYPES[INTEGER](check.get(key)) and check[key] < 0:
                wrong(f"{path}/{key}", "error.min")
    return found


def _check_object(given, keys, path, wrong):
    for key, value in given.items():
        if key not in keys:
            wrong(f"{path}/{key}", "error.unknown.property")
        elif value is not None and not _TYPES[keys[key]](value):
            wrong(f"{path}/{key}", f"error.expected.js{keys[key]}")


def completed(app):
    """The same with the values of what was left out."""
    whole = {**DEFAULTS, **{key: value for key, value in app.items() if key not in {"version", "versionInfo"}}}
    whole["id"] = "/" + whole["id"].lstrip("/")
    whole["healthChecks"] = [{**_CHECK_DEFAULTS, **check} for check in whole["healthChecks"] or ()]
    return whole
