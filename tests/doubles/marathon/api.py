"""The REST API."""

import json

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from tests.doubles.marathon.checks import iso
from tests.doubles.marathon.definition import completed, problems
from tests.doubles.marathon.faults import KEPT, Faults
from tests.doubles.marathon.shapes import (
    app_shape,
    deployment_shape,
    info_shape,
    queued_shape,
    task_shape,
)

HEARTBEAT_SECS = 10
_LOCKED = (
    "App is locked by one or more deployments. Override with the option '?force=true'. "
    "View details at '/v2/deployments/<DEPLOYMENT_ID>'."
)
_ALWAYS = {"counts", "deployments"}
_OF_ONE = _ALWAYS | {"tasks", "lastTaskFailure"}


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status, message, **more):
        super().__init__(message)
        self.status = status
        self.answer = {"message": message, **more}


class API:
    """Marathon as it is asked over HTTP."""

    app = Klein()

    def __init__(self, reactor, cluster, address):
        self._reactor = reactor
        self._cluster = cluster
        self._address = address

    # Apps

    @app.route("/v2/apps", methods=["GET"])
    def list_apps(self, request):
        embed = _embed(request) | _ALWAYS
        found = self._cluster.apps.values()
        if wanted := _argument(request, "id"):
            found = [app for app in found if wanted in app.id]
        if wanted := _argument(request, "cmd"):
            found = [app for app in found if wanted in (app.definition["cmd"] or "")]
        if wanted := _argument(request, "label"):
            name, _, value = wanted.partition("==")
            found = [app for app in found if app.definition["labels"].get(name) in ({value} if value else set())]
        return _answer(request, {"apps": [app_shape(app, self._cluster, embed) for app in found]})

    @app.route("/v2/apps", methods=["POST"])
    def create_app(self, request):
        definition = _checked(_content(request), whole=True)
        self._check_lock(request, definition["id"])
        if definition["id"] in self._cluster.apps:
            raise Refusal(409, f"An app with id [{definition['id']}] already exists.")
        deployment = self._cluster.create(definition)
        app = self._cluster.apps[definition["id"]]
        request.setHeader("Marathon-Deployment-Id", deployment.id)
        request.setHeader("Location", f"/v2/apps{app.id}")
        return _answer(request, app_shape(app, self._cluster, _ALWAYS | {"tasks"}), 201)

    @app.route("/v2/apps/<path:path>", methods=["GET"])
    def get_app(self, request, path):
        app, rest = self._find(path)
        if rest == ["tasks"]:
            return _answer(request, {"tasks": [task_shape(task) for task in app.tasks.values()]})
        if rest == ["versions"]:
            return _answer(request, {"versions": [app.version, *reversed(app.versions)]})
        if len(rest) == 2 and rest[0] == "versions":
            return _answer(request, self._version(app, rest[1]))
        if rest:
            raise Refusal(404, "Not found")
        return _answer(request, {"app": app_shape(app, self._cluster, _OF_ONE)})

    @app.route("/v2/apps/<path:path>", methods=["PUT"])
    def change_app(self, request, path):
        content = _content(request)
        app_id = "/" + path.strip("/")
        self._check_lock(request, app_id)
        app = self._cluster.apps.get(app_id)
        if app is None:
            definition = _checked({**content, "id": app_id}, whole=True)
            return _answer(request, _deployed(self._cluster.create(definition)), 201)
        if set(content) == {"version"}:
            content = self._version(app, content["version"])
            content = {key: value for key, value in content.items() if key not in {"version", "versionInfo", "id"}}
        else:
            found = problems(content, whole=False)
            if found:
                raise Refusal(422, "Object is not valid", details=found)
        self._override(request, app_id)
        change = {key: value for key, value in content.items() if value is not None and key != "id"}
        return _answer(request, _deployed(self._cluster.change(app, change)))

    @app.route("/v2/apps/<path:path>", methods=["DELETE"])
    def delete_app(self, request, path):
        app, rest = self._find(path)
        if not rest:
            self._check_lock(request, app.id)
            self._override(request, app.id)
            return _answer(request, _deployed(self._cluster.delete(app)))
        if rest[0] != "tasks" or len(rest) > 2:
            raise Refusal(404, "Not found")
        task_ids = rest[1:] or list(app.tasks)
        for task_id in task_ids:
            if task_id not in app.tasks:
                raise Refusal(404, f"Task '{task_id}' does not exist")
        shapes = [task_shape(app.tasks[task_id]) for task_id in task_ids]
        deployment = self._kill(request, app, task_ids)
        if deployment is not None:
            return _answer(request, _deployed(deployment))
        return _answer(request, {"task": shapes[0]} if rest[1:] else {"tasks": shapes})

    @app.route("/v2/apps/<path:path>/restart", methods=["POST"])
    def restart_app(self, request, path):
        app, _ = self._find(path)
        self._check_lock(request, app.id)
        self._override(request, app.id)
        return _answer(request, _deployed(self._cluster.restart(app)))

    # Tasks

    @app.route("/v2/tasks", methods=["GET"])
    def list_tasks(self, request):
        tasks = [task for app in self._cluster.apps.values() for task in app.tasks.values()]
        return _answer(request, {"tasks": [task_shape(task) for task in tasks]})

    @app.route("/v2/tasks/delete", methods=["POST"])
    def delete_tasks(self, request):
        content = _content(request)
        by_app = {}
        shapes = []
        for task_id in content.get("ids", ()):
            found = self._cluster.find_task(task_id)
            if found is not None:
                by_app.setdefault(found[0].id, []).append(task_id)
                shapes.append(task_shape(found[1]))
        deployment = None
        for app_id in by_app:
            if _flag(request, "scale"):
                self._check_lock(request, app_id)
        for app_id, task_ids in by_app.items():
            deployment = self._kill(request, self._cluster.apps[app_id], task_ids)
        return _answer(request, {"tasks": shapes} if deployment is None else _deployed(deployment))

    # Deployments

    @app.route("/v2/deployments", methods=["GET"])
    def list_deployments(self, request):
        return _answer(request, [deployment_shape(each) for each in self._cluster.deployments.values()])

    @app.route("/v2/deployments/<deployment_id>", methods=["DELETE"])
    def delete_deployment(self, request, deployment_id):
        deployment = self._cluster.deployments.get(deployment_id)
        if deployment is None:
            raise Refusal(404, f"DeploymentPlan {deployment_id} does not exist")
        self._cluster.cancel(deployment)
        request.setResponseCode(202)
        return b""

    # The rest

    @app.route("/v2/queue", methods=["GET"])
    def queue(self, request):
        queued = [queued_shape(app) for app in self._cluster.apps.values() if app.queued_since is not None]
        return _answer(request, {"queue": queued})

    @app.route("/v2/queue/<path:path>/delay", methods=["DELETE"])
    def reset_delay(self, request, path):
        app, _ = self._find(path)
        app.delay_secs = app.delay_until = 0.0
        request.setResponseCode(204)
        return b""

    @app.route("/v2/info", methods=["GET"])
    def info(self, request):
        return _answer(request, info_shape(self._cluster, self._address))

    @app.route("/v2/leader", methods=["GET"])
    def leader(self, request):
        return _answer(request, {"leader": self._address})

    @app.route("/ping", methods=["GET"])
    def ping(self, request):
        request.setHeader("Content-Type", "text/plain")
        return b"pong"

    @app.route("/v2/events", methods=["GET"])
    def events(self, request):
        if "text/event-stream" not in (request.getHeader("accept") or ""):
            raise Refusal(406, "Not Acceptable")
        wanted = {each.decode() for each in request.args.get(b"event_type", ())}
        request.setHeader("Content-Type", "text/event-stream")
        request.write(b"")
        attached = {"eventType": "event_stream_attached", "remoteAddress": "127.0.0.1", "timestamp": iso()}
        _send(request, "event_stream_attached", attached)

        def heard(kind, event):
            if not wanted or kind in wanted:
                _send(request, kind, event)

        self._cluster.subscribers.append(heard)
        heartbeat = LoopingCall(request.write, b"\r\n")
        heartbeat.clock = self._reactor
        heartbeat.start(HEARTBEAT_SECS / self._cluster.speed, now=False)

        def gone(_):
            heartbeat.stop()
            self._cluster.subscribers.remove(heard)

        request.notifyFinish().addBoth(gone)
        return Deferred()

    @app.handle_errors(Refusal)
    def refused(self, request, failure):
        return _answer(request, failure.value.answer, failure.value.status)

    # How

    def _find(self, path):
        """The app that a path begins with, and the rest of the path."""
        parts = path.strip("/").split("/")
        for end in range(len(parts), 0, -1):
            app = self._cluster.apps.get("/" + "/".join(parts[:end]))
            if app is not None:
                return app, parts[end:]
        raise Refusal(404, f"App '/{path.strip('/')}' does not exist")

    def _version(self, app, version):
        if version == app.version:
            return {**app.definition, "version": version}
        if version not in app.versions:
            raise Refusal(404, f"App '{app.id}' version '{version}' does not exist")
        return {**app.versions[version], "version": version}

    def _check_lock(self, request, app_id):
        locks = self._cluster.locks(app_id)
        if locks and not _flag(request, "force"):
            raise Refusal(409, _LOCKED, deployments=[{"id": each.id} for each in locks])

    def _override(self, request, app_id):
        for each in self._cluster.locks(app_id):
            self._cluster.cancel(each)

    def _kill(self, request, app, task_ids):
        scale = _flag(request, "scale")
        if scale:
            self._check_lock(request, app.id)
            self._override(request, app.id)
        return self._cluster.kill(app, task_ids, scale=scale)


class Front(Resource):
    """All that is served: the API, spoilt as the switch says, and the switch itself."""

    isLeaf = True

    def __init__(self, reactor, cluster, address, snapshot):
        """@param snapshot: what questions would be answered with now, by their URIs."""
        super().__init__()
        self.snapshot = snapshot
        self._reactor = reactor
        self._api = API(reactor, cluster, address).app.resource()
        self._stale = {}
        self.faults = Faults()
        self.asked = []

    def render(self, request):
        path = request.path.decode()
        if path == "/-/faults":
            return self._switch(request)
        if path == "/-/requests":
            return _answer(request, self.asked)
        method = request.method.decode()
        self.asked.append({"method": method, "uri": request.uri.decode()})
        del self.asked[:-KEPT]
        faults = self.faults
        if faults.refuses(request.getHeader("authorization")):
            return _answer(request, {"message": "Invalid username or password."}, 401)
        if not faults.concern(method, path):
            return self._api.render(request)
        if faults.latency_secs:
            waiting = deferLater(self._reactor, faults.latency_secs, self._spoil, request, faults)
            request.notifyFinish().addErrback(lambda _: waiting.cancel())
            waiting.addErrback(lambda _: None)
            return NOT_DONE_YET
        return self._spoil(request, faults, finish=False)

    def _spoil(self, request, faults, finish=True):
        answer = self._spoilt(request, faults)
        if finish and answer is not NOT_DONE_YET:
            request.write(answer)
            request.finish()
        return answer

    def _spoilt(self, request, faults):
        if faults.drop:
            request.channel.transport.abortConnection()
            return NOT_DONE_YET
        if faults.status is not None:
            return _answer(request, {"message": "It was told to fail."}, faults.status)
        if faults.leaderless:
            return _answer(request, {"message": "Could not determine the current leader"}, 503)
        if faults.redirect is not None:
            request.redirect((faults.redirect + request.uri.decode()).encode())
            request.setResponseCode(307)
            return b""
        if faults.cut:
            request.setHeader("Content-Length", "1000000")
            request.setHeader("Content-Type", "application/json")
            request.write(b'{"apps": [')
            self._reactor.callLater(0.05, request.channel.transport.abortConnection)
            return NOT_DONE_YET
        if faults.stale and request.method == b"GET" and request.uri in self._stale:
            return _answer(request, self._stale[request.uri])
        return self._api.render(request)

    def _switch(self, request):
        if request.method == b"PUT":
            self.faults = Faults(**json.loads(request.content.read()))
            self._stale = {
                uri.encode(): answer for uri, answer in (self.snapshot() if self.faults.stale else {}).items()
            }
        elif request.method == b"DELETE":
            self.faults = Faults()
        return _answer(request, {name: getattr(self.faults, name) for name in Faults.__slots__ if name[0] != "_"})


def _send(request, kind, event):
    request.write(f"event: {kind}\r\ndata: {json.dumps(event)}\r\n\r\n".encode())


def _answer(request, content, status=200):
    request.setResponseCode(status)
    request.setHeader("Content-Type", "application/json")
    return json.dumps(content).encode()


def _content(request):
    try:
        content = json.loads(request.content.read())
    except ValueError as error:
        raise Refusal(400, "Invalid JSON", details=[{"path": "", "errors": [str(error)]}]) from None
    if not isinstance(content, dict):
        raise Refusal(400, "Invalid JSON", details=[{"path": "", "errors": ["error.expected.jsobject"]}])
    return content


def _checked(content, *, whole):
    found = problems(content, whole=whole)
    if found:
        raise Refusal(422, "Object is not valid", details=found)
    return completed(content)


def _deployed(deployment):
    return {"version": deployment.version, "deploymentId": deployment.id}


def _argument(request, name):
    values = request.args.get(name.encode())
    return values[0].decode() if values else None


def _flag(request, name):
    return (_argument(request, name) or "").lower() == "true"


def _embed(request):
    given = {each.decode() for each in request.args.get(b"embed", ())}
    found = {each.partition(".")[2] for each in given if each.startswith(("app.", "apps."))}
    return found | ({"lastTaskFailure", "tasks", "deployments", "counts"} if "failures" in found else set())
