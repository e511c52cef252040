"""
The shapes that Marathon's manual shows: every key that is in its example answers, and the type of its value.

A list stands for one of such things; C{None} for a value that may be null or of any type.
"""

NUMBER = (int, float)
TIME = str

DEPLOYMENT_RESULT = {"deploymentId": str, "version": TIME}

APP = {
    "id": str,
    "cmd": None,
    "args": None,
    "user": None,
    "env": dict,
    "instances": int,
    "cpus": NUMBER,
    "mem": NUMBER,
    "disk": NUMBER,
    "executor": str,
    "constraints": list,
    "uris": list,
    "ports": [int],
    "requirePorts": bool,
    "backoffSeconds": int,
    "backoffFactor": NUMBER,
    "maxLaunchDelaySeconds": int,
    "container": None,
    "healthChecks": list,
    "dependencies": list,
    "upgradeStrategy": {"minimumHealthCapacity": NUMBER, "maximumOverCapacity": NUMBER},
    "labels": dict,
    "acceptedResourceRoles": None,
    "version": TIME,
    "versionInfo": {"lastScalingAt": TIME, "lastConfigChangeAt": TIME},
}
LISTED_APP = {
    **APP,
    "tasksStaged": int,
    "tasksRunning": int,
    "tasksHealthy": int,
    "tasksUnhealthy": int,
    "deployments": [{"id": str}],
}
TASK = {
    "appId": str,
    "host": str,
    "id": str,
    "ports": [int],
    "slaveId": str,
    "stagedAt": TIME,
    "startedAt": TIME,
    "version": TIME,
    "state": str,
    "servicePorts": list,
}
DEPLOYMENT = {
    "id": str,
    "version": TIME,
    "affectedApps": [str],
    "affectedPods": list,
    "steps": [{"actions": [{"action": str, "app": str}]}],
    "currentActions": [{"action": str, "app": str, "readinessCheckResults": list}],
    "currentStep": int,
    "totalSteps": int,
}
QUEUED = {
    "app": {key: shape for key, shape in APP.items() if key not in {"user", "cmd", "args"}},
    "count": int,
    "role": str,
    "delay": {"timeLeftSeconds": NUMBER, "overdue": bool},
    "since": TIME,
    "processedOffersSummary": {"processedOffersCount": int, "unusedOffersCount": int},
}
INFO = {
    "name": str,
    "version": str,
    "buildref": str,
    "elected": bool,
    "leader": str,
    "frameworkId": str,
    "marathon_config": dict,
    "zookeeper_config": dict,
    "http_config": {"http_port": int, "https_port": None},
}
STATUS_EVENT = {
    "slaveId": str,
    "taskId": str,
    "taskStatus": str,
    "message": str,
    "appId": str,
    "host": str,
    "ports": [int],
    "version": TIME,
    "eventType": str,
    "timestamp": TIME,
}


def differences(found, shape, path=""):
    """Where an answer is not of a shape."""
    if shape is None:
        return []
    if isinstance(shape, dict):
        if not isinstance(found, dict):
            return [f"{path} is no object"]
        missing = [f"{path}.{key} is missing" for key in shape if key not in found]
        return missing + [
            each
            for key, part in shape.items()
            if key in found
            for each in differences(found[key], part, f"{path}.{key}")
        ]
    if isinstance(shape, list):
        if not isinstance(found, list):
            return [f"{path} is no list"]
        return [each for item in found for each in differences(item, shape[0], f"{path}[]")]
    # To Python, true is an integer.
    if not isinstance(found, shape) or (isinstance(found, bool) and shape is not bool):
        return [f"{path} is {found!r}"]
    return []
