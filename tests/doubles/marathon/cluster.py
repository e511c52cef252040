"""What the double has: apps, their tasks, and the deployments that change them."""

import json
import signal
import time
import uuid
from pathlib import Path

import attrs
from twisted.internet.task import LoopingCall

from tests.doubles.marathon.checks import HealthChecks, iso
from tests.doubles.marathon.tasks import Launcher, Task, processes_below

TICK_SECS = 0.02
KEPT_VERSIONS = 25


@attrs.define(kw_only=True)
class App:
    """
    One app.

    @ivar definition: complete, without what changes by itself.
    @ivar tasks: by id, those that are not over.
    @ivar versions: older definitions by version.
    @ivar delay_until: when the next task may be launched, by the monotonic clock.
    """

    definition: dict = attrs.field(repr=False)
    version: str
    scaled_at: str
    changed_at: str
    versions: dict = attrs.field(factory=dict, repr=False)
    tasks: dict = attrs.field(factory=dict)
    last_failure: dict | None = None
    delay_secs: float = 0.0
    delay_until: float = 0.0
    queued_since: str | None = None

    @property
    def id(self):
        return self.definition["id"]

    @property
    def instances(self):
        return self.definition["instances"]


@attrs.define(kw_only=True)
class Deployment:
    """
    A change under way.

    @ivar doomed: ids of tasks that must be gone before it is done.
    @ivar until: before which it is not done, by the monotonic clock.
    """

    id: str
    version: str
    app_id: str
    action: str
    doomed: set = attrs.field(factory=set)
    until: float = 0.0


class Cluster:
    """Keeps the apps as they should be."""

    def __init__(self, reactor, directory, *, hosts=("127.0.0.1",), speed=1.0, deployment_secs=0.05, launch_secs=0.02):
        """
        @param hosts: addresses of this machine, each of which stands for an agent.
        @param speed: how many times faster than the real one it checks, backs off and loses patience.
        @param deployment_secs: how long a deployment takes at least.
        @param launch_secs: how long it takes until an offer comes that a task can be launched with.
        """
        self._directory = Path(directory).absolute()
        self._directory.mkdir(parents=True, exist_ok=True)
        self._file = self._directory / "marathon.json"
        self.speed = speed
        self.deployment_secs = deployment_secs
        self.launch_secs = launch_secs
        self.apps = {}
        self.deployments = {}
        self.subscribers = []
        self._stopping = {}
        self._doomed = set()
        self._dirty = True
        saved = json.loads(self._file.read_text()) if self._file.exists() else {}
        self.framework_id = saved.get("framework_id") or f"{uuid.uuid4()}-0000"
        self.launcher = Launcher(self._directory, hosts=hosts, framework_id=self.framework_id)
        self._checks = HealthChecks(reactor, self)
        self._restore(saved)
        self._loop = LoopingCall(self._tick)
        self._loop.clock = reactor

    def start(self):
        """Go on with what there is."""
        for app in self.apps.values():
            for task in app.tasks.values():
                if task.state == "TASK_RUNNING":
                    self._checks.watch(app, task)
        self._loop.start(TICK_SECS)

    def stop(self):
        """End all tasks at once, and wait for their end. Fires when their health is not checked any more."""
        if self._loop.running:
            self._loop.stop()
        tasks = [task for app in self.all_apps() for task in app.tasks.values() if task.pid is not None]
        for task in tasks:
            self.launcher.force(task)
        give_up_at = time.monotonic() + 10
        while time.monotonic() < give_up_at:
            # A process that has been killed is there for another moment.
            if all(self.launcher.ended(task) is not None for task in tasks) and not processes_below(self._directory):
                break
            time.sleep(0.01)
        self._file.unlink(missing_ok=True)
        return self._checks.stop()

    # What is asked for

    def all_apps(self):
        """Those that are being deleted too."""
        return [*self.apps.values(), *self._stopping.values()]

    def create(self, definition):
        """A new app; its deployment."""
        now = iso()
        app = App(definition=definition, version=now, scaled_at=now, changed_at=now)
        self.apps[app.id] = app
        app.delay_until = time.monotonic() + self.launch_secs
        return self._deploy(app.id, "StartApplication")

    def change(self, app, change):
        """Change an app; its deployment."""
        change = {key: value for key, value in change.items() if key not in {"version", "versionInfo"}}
        before = app.definition
        after = {**before, **change, "id": app.id}
        if change.get("cmd") is not None:
            after["args"] = None
        elif change.get("args") is not None:
            after["cmd"] = None
        restart = any(after[key] != before.get(key) for key in after if key != "instances")
        self._remember(app)
        now = iso()
        app.definition = after
        if restart:
            app.version = app.changed_at = now
        app.version = app.scaled_at = now
        doomed = set(app.tasks) if restart else set()
        self._kill(doomed)
        if not restart and after["instances"] > before["instances"]:
            app.delay_until = max(app.delay_until, time.monotonic() + self.launch_secs)
        return self._deploy(app.id, "RestartApplication" if restart else "ScaleApplication", doomed)

    def restart(self, app):
        """Start all its tasks anew; its deployment."""
        doomed = set(app.tasks)
        self._kill(doomed)
        return self._deploy(app.id, "RestartApplication", doomed)

    def delete(self, app):
        """Forget an app and end its tasks; its deployment."""
        del self.apps[app.id]
        self._stopping[app.id] = app
        self._kill(set(app.tasks))
        return self._deploy(app.id, "StopApplication", set(app.tasks))

    def kill(self, app, task_ids, *, scale):
        """End tasks; the deployment if that lowers the number of instances."""
        self._kill(set(task_ids))
        if not scale:
            return None
        self._remember(app)
        app.definition = {**app.definition, "instances": max(0, app.instances - len(task_ids))}
        app.version = app.scaled_at = iso()
        return self._deploy(app.id, "ScaleApplication", set(task_ids))

    def locks(self, app_id):
        """The deployments of an app."""
        return [each for each in self.deployments.values() if each.app_id == app_id]

    def cancel(self, deployment):
        """End a deployment where it is."""
        self.deployments.pop(deployment.id, None)
        self._dirty = True
        self.emit("deployment_failed", id=deployment.id)

    def find_task(self, task_id):
        """An app and its task; C{None} if there is none."""
        return next(((app, app.tasks[task_id]) for app in self.apps.values() if task_id in app.tasks), None)

    def emit(self, kind, **fields):
        """Tell the subscribers of the event stream."""
        event = {**fields, "eventType": kind, "timestamp": iso()}
        for subscriber in tuple(self.subscribers):
            subscriber(kind, event)

    # How it is done

    def _remember(self, app):
        app.versions[app.version] = app.definition
        while len(app.versions) > KEPT_VERSIONS:
            del app.versions[next(iter(app.versions))]

    def _deploy(self, app_id, action, doomed=()):
        version = (self.apps.get(app_id) or self._stopping[app_id]).version
        deployment = Deployment(
            id=str(uuid.uuid4()),
            version=version if action != "StopApplication" else iso(),
            app_id=app_id,
            action=action,
            doomed=set(doomed),
            until=time.monotonic() + self.deployment_secs,
        )
        self.deployments[deployment.id] = deployment
        self._dirty = True
        self._announce(deployment)
        return deployment

    def _announce(self, deployment):
        group = {"id": "/", "apps": [], "dependencies": [], "groups": [], "pods": [], "version": deployment.version}
        step = {"actions": [{"action": deployment.action, "app": deployment.app_id}]}
        plan = {"id": deployment.id, "version": deployment.version, "original": group, "target": group, "steps": [step]}
        self.emit("deployment_info", plan=plan, currentStep=step)

    def _kill(self, task_ids):
        self._doomed |= task_ids
        self._dirty = True

    def _tick(self):
        now = time.monotonic()
        for app in self.all_apps():
            for task in tuple(app.tasks.values()):
                self._look_after(app, task, now)
        for app in self.apps.values():
            self._fill(app, now)
        for deployment in tuple(self.deployments.values()):
            if now >= deployment.until and self._is_done(deployment):
                del self.deployments[deployment.id]
                self._stopping.pop(deployment.app_id, None) if deployment.action == "StopApplication" else None
                self._dirty = True
                self.emit("deployment_success", id=deployment.id)
        if self._dirty:
            self._dirty = False
            self._save()

    def _look_after(self, app, task, now):
        if task.pid is None:
            if task.id in self._doomed:
                self._over(app, task, "TASK_KILLED", "")
            return
        status = self.launcher.ended(task)
        if status is not None:
            self._ended(app, task, status)
        elif task.killing_since is None and task.id in self._doomed:
            self.launcher.ask_to_end(task)
            self._status(task, "TASK_KILLING", "")
        elif task.killing_since is not None and now - task.killing_since > task.grace_secs / self.speed:
            self.launcher.force(task)

    def _ended(self, app, task, status):
        if task.id in self._doomed:
            self._over(app, task, "TASK_KILLED", task.why or "Command terminated with signal Terminated")
            return
        if status < 0:
            name = {signal.SIGKILL: "Killed", signal.SIGTERM: "Terminated"}.get(-status, signal.strsignal(-status))
            self._over(app, task, "TASK_FAILED", f"Command terminated with signal {name}")
        elif status == 0:
            self._over(app, task, "TASK_FINISHED", "Command exited with status 0")
        else:
            self._over(app, task, "TASK_FAILED", f"Command exited with status {status}")

    def _over(self, app, task, state, message):
        del app.tasks[task.id]
        self._doomed.discard(task.id)
        self._checks.forget(task.id)
        self._dirty = True
        if state == "TASK_FAILED" or task.why:
            app.last_failure = {
                "appId": app.id,
                "host": task.host,
                "message": message,
                "slaveId": task.agent_id,
                "state": state,
                "taskId": task.id,
                "timestamp": iso(),
                "version": task.version,
            }
        if state in {"TASK_FAILED", "TASK_FINISHED"} or task.why:
            self._back_off(app)
        self._status(task, state, message)

    def _back_off(self, app):
        definition = app.definition
        longest = definition["maxLaunchDelaySeconds"]
        app.delay_secs = min(longest, app.delay_secs * definition["backoffFactor"] or definition["backoffSeconds"])
        app.delay_until = time.monotonic() + app.delay_secs / self.speed

    def _fill(self, app, now):
        living = [task for task in app.tasks.values() if task.id not in self._doomed]
        for task in living:
            if task.pid is None and now >= app.delay_until:
                self.launcher.start(task, app.definition)
                self._dirty = True
                self._status(task, "TASK_RUNNING", "")
        missing = app.instances - len(living)
        if missing <= 0:
            app.queued_since = None
        if missing < 0:
            surplus = sorted(living, key=lambda task: task.staged_at)[missing:]
            self._kill({task.id for task in surplus})
        elif missing and now >= app.delay_until:
            for _ in range(missing):
                task = self.launcher.prepare(app)
                app.tasks[task.id] = task
                self._status(task, "TASK_STAGING", "")
            app.delay_until = max(app.delay_until, now + self.launch_secs)
            self._dirty = True
        elif missing and app.queued_since is None:
            app.queued_since = iso()

    def _is_done(self, deployment):
        app = self.apps.get(deployment.app_id)
        if deployment.action == "StopApplication":
            stopping = self._stopping.get(deployment.app_id)
            return stopping is None or not stopping.tasks
        if app is None:
            return True
        if not deployment.doomed.isdisjoint(app.tasks) or len(app.tasks) != app.instances:
            return False
        tasks = app.tasks.values()
        if app.definition["healthChecks"]:
            return all(task.health and all(each and each["alive"] for each in task.health) for task in tasks)
        return all(task.state == "TASK_RUNNING" for task in tasks)

    def healthy(self, app, task):
        """Its checks say that it is well."""
        app.delay_secs = 0.0
        self._dirty = True
        ids = {"appId": app.id, "taskId": task.id, "instanceId": task.id}
        self.emit("health_status_changed_event", **ids, version=task.version, alive=True)

    def unhealthy(self, app, task, cause):
        """Its checks say that it is not, too often."""
        task.why = f"Task was killed since health check failed. Reason: {cause}"
        self.emit("unhealthy_task_kill_event", appId=app.id, taskId=task.id, version=task.version, reason=cause)
        self._kill({task.id})

    def _status(self, task, state, message):
        self.emit(
            "status_update_event",
            slaveId=task.agent_id,
            taskId=task.id,
            taskStatus=state,
            message=message,
            appId=task.app_id,
            host=task.host,
            ports=task.ports,
            version=task.version,
        )

    # What is written down

    def _save(self):
        kept = {
            "framework_id": self.framework_id,
            "doomed": sorted(self._doomed),
            "apps": [_app_record(app) for app in self.apps.values()],
            "stopping": [_app_record(app) for app in self._stopping.values()],
            "deployments": [
                {**attrs.asdict(each), "doomed": sorted(each.doomed), "until": 0.0}
                for each in self.deployments.values()
            ],
        }
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(kept))
        new.rename(self._file)

    def _restore(self, saved):
        for key, apps in (("apps", self.apps), ("stopping", self._stopping)):
            for record in saved.get(key, ()):
                tasks = {each["id"]: Task(**each) for each in record.pop("tasks")}
                app = App(**record, tasks=tasks)
                apps[app.id] = app
        self._doomed = set(saved.get("doomed", ()))
        for record in saved.get("deployments", ()):
            deployment = Deployment(**{**record, "doomed": set(record["doomed"])})
            self.deployments[deployment.id] = deployment


def _app_record(app):
    return {
        **attrs.asdict(app, filter=lambda attribute, _: attribute.name != "tasks"),
        "delay_until": 0.0,
        "tasks": [{**attrs.asdict(task), "killing_since": None, "health": []} for task in app.tasks.values()],
    }
