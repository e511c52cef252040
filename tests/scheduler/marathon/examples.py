"""What Marathon and Mesos say, as their manuals show it."""

LISTED_APP = {
    "id": "/waiter-service-a",
    "cmd": None,
    "args": ["/bin/bash", "-c", "./run"],
    "instances": 3,
    "cpus": 0.1,
    "mem": 5,
    "tasksStaged": 1,
    "tasksRunning": 2,
    "tasksHealthy": 1,
    "tasksUnhealthy": 0,
    "deployments": [{"id": "9538079c-3898-4e32-aa31-799bf9097f74"}],
    "tasks": [
        {
            "id": "waiter-service-a.083be411-5d1f-11e5-88f7-56b91e7a505b",
            "host": "srv4.example.com",
            "ports": [31292, 31293],
            "startedAt": "2015-09-17T09:32:42.598Z",
            "stagedAt": "2015-09-17T09:32:36.822Z",
            "version": "2015-09-17T09:32:36.583Z",
            "slaveId": "20150707-S0",
            "appId": "/waiter-service-a",
            "state": "TASK_RUNNING",
            "healthCheckResults": [{"alive": True, "consecutiveFailures": 0}],
        },
        {
            "id": "waiter-service-a.002b4d28-46b9-11e5-b731-525400cce7ed",
            "stagedAt": "2015-09-17T09:32:36.822Z",
            "appId": "/waiter-service-a",
            "state": "TASK_STAGING",
        },
        {
            "id": "waiter-service-a.dead",
            "host": "srv4.example.com",
            "ports": [31294],
            "appId": "/waiter-service-a",
            "state": "TASK_KILLED",
        },
    ],
    "lastTaskFailure": {
        "appId": "/waiter-service-a",
        "host": "srv5.example.com",
        "message": "Command exited with status 127",
        "state": "TASK_FAILED",
        "taskId": "waiter-service-a.0664256e-6771-11e5-94e1-be5b2935a987",
        "timestamp": "2015-09-30T12:44:45.681Z",
        "version": "2015-09-30T09:09:17.614Z",
        "slaveId": "20150707-S6",
    },
}

DEPLOYMENT = {
    "id": "97c136bf-5a28-4821-9d94-480d9fbb01c8",
    "version": "2015-09-30T09:09:17.614Z",
    "affectedApps": ["/waiter-service-a"],
    "steps": [{"actions": [{"action": "StopApplication", "app": "/waiter-service-a"}]}],
    "currentActions": [{"action": "StopApplication", "app": "/waiter-service-a", "readinessCheckResults": []}],
    "currentStep": 1,
    "totalSteps": 1,
}
