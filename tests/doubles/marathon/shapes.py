"""What Marathon shows of what it has, as JSON."""

import time

from tests.doubles.marathon.checks import iso


def app_shape(app, cluster, embed):
    """
    An app.

    @param embed: what of it is shown beside the rest: C{tasks}, C{counts}, C{deployments}, C{lastTaskFailure}.
    """
    shape = {
        **app.definition,
        "version": app.version,
        "versionInfo": {"lastScalingAt": app.scaled_at, "lastConfigChangeAt": app.changed_at},
    }
    tasks = app.tasks.values()
    if "counts" in embed:
        results = [[each for each in task.health if each is not None] for task in tasks]
        shape["tasksStaged"] = sum(task.state == "TASK_STAGING" for task in tasks)
        shape["tasksRunning"] = sum(task.state == "TASK_RUNNING" for task in tasks)
        shape["tasksHealthy"] = sum(bool(found) and all(each["alive"] for each in found) for found in results)
        shape["tasksUnhealthy"] = sum(any(not each["alive"] for each in found) for found in results)
    if "deployments" in embed:
        shape["deployments"] = [{"id": each.id} for each in cluster.locks(app.id)]
    if "tasks" in embed:
        shape["tasks"] = [task_shape(task) for task in tasks]
    if "lastTaskFailure" in embed and app.last_failure is not None:
        shape["lastTaskFailure"] = app.last_failure
    return shape


def task_shape(task):
    """A task."""
    shape = {
        "appId": task.app_id,
        "host": task.host,
        "id": task.id,
        "ipAddresses": [{"ipAddress": task.host, "protocol": "IPv4"}],
        "ports": task.ports,
        "servicePorts": [],
        "slaveId": task.agent_id,
        "stagedAt": iso(task.staged_at),
        "state": task.state,
        "version": task.version,
    }
    if task.started_at is not None:
        shape["startedAt"] = iso(task.started_at)
    results = [each for each in task.health if each is not None]
    if results:
        shape["healthCheckResults"] = results
    return shape


def deployment_shape(deployment):
    """A deployment: here always one step with one action."""
    action = {"action": deployment.action, "app": deployment.app_id}
    return {
        "id": deployment.id,
        "version": deployment.version,
        "affectedApps": [deployment.app_id],
        "affectedPods": [],
        "steps": [{"actions": [action]}],
        "currentActions": [{**action, "readinessCheckResults": []}],
        "currentStep": 1,
        "totalSteps": 1,
    }


def queued_shape(app):
    """An app in the launch queue."""
    left = max(0, app.delay_until - time.monotonic())
    return {
        "app": {
            **app.definition,
            "version": app.version,
            "versionInfo": {"lastScalingAt": app.scaled_at, "lastConfigChangeAt": app.changed_at},
        },
        "count": app.instances - len(app.tasks),
        "role": "*",
        "delay": {"timeLeftSeconds": round(left), "overdue": left == 0},
        "since": app.queued_since,
        "processedOffersSummary": {"processedOffersCount": 0, "unusedOffersCount": 0},
    }


def info_shape(cluster, address):
    """What it says of itself."""
    return {
        "name": "marathon",
        "version": "1.5.0-DOUBLE",
        "buildref": "unknown",
        "elected": True,
        "leader": address,
        "frameworkId": cluster.framework_id,
        "marathon_config": {
            "checkpoint": True,
            "executor": "//cmd",
            "failover_timeout": 604800,
            "features": [],
            "framework_name": "marathon",
            "ha": True,
            "hostname": address.partition(":")[0],
            "local_port_max": 20000,
            "local_port_min": 10000,
            "master": "none",
            "mesos_role": "*",
            "reconciliation_interval": 600000,
            "task_launch_timeout": 300000,
            "webui_url": None,
        },
        "zookeeper_config": {"zk": "none", "zk_timeout": 10000},
        "http_config": {"http_port": int(address.rpartition(":")[2]), "https_port": None},
    }
