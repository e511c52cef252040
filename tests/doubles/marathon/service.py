"""The double as a service."""

import json

from twisted.application.service import Service
from twisted.internet.defer import gatherResults
from twisted.web.server import Site

from tests.doubles.marathon.agent import AgentAPI
from tests.doubles.marathon.api import Front
from tests.doubles.marathon.cluster import Cluster
from tests.doubles.marathon.shapes import app_shape, deployment_shape

SHOWN = "/var/lib/mesos/slaves"


class MarathonDouble(Service):
    """
    A Marathon and the agents of its cluster.

    @ivar cluster: what it has.
    @ivar port: where it listens.
    @ivar agent_port: where its agents do.
    """

    def __init__(self, reactor, directory, *, port=0, agent_port=0, hosts=("127.0.0.1",), ssl=None, **options):
        """
        @param hosts: addresses of this machine.
        @param ssl: a context factory, to listen with TLS.
        @param options: of the L{Cluster}.
        """
        self._reactor = reactor
        self._hosts = hosts
        self._ssl = ssl
        self.port = port
        self.agent_port = agent_port
        self.cluster = Cluster(reactor, directory, hosts=hosts, **options)
        self._listening = []
        self.front = None

    @property
    def url(self):
        return f"{'http' if self._ssl is None else 'https'}://127.0.0.1:{self.port}"

    def startService(self):
        super().startService()
        agents = Site(AgentAPI(self.cluster.launcher.slaves, SHOWN).app.resource())
        for host in self._hosts:
            listening = self._reactor.listenTCP(self.agent_port, agents, interface=host)
            self.agent_port = listening.getHost().port
            self._listening.append(listening)
        # The port must be known before it can be shown.
        site = Site(None)
        if self._ssl is None:
            listening = self._reactor.listenTCP(self.port, site, interface="127.0.0.1")
        else:
            listening = self._reactor.listenSSL(self.port, site, self._ssl, interface="127.0.0.1")
        self.port = listening.getHost().port
        self._listening.append(listening)
        self.front = site.resource = Front(self._reactor, self.cluster, f"127.0.0.1:{self.port}", self._snapshot)
        self.cluster.start()

    def stopService(self):
        super().stopService()
        listening, self._listening = self._listening, []
        return gatherResults([self.cluster.stop(), *(each.stopListening() for each in listening)])

    def _snapshot(self):
        """What is answered from now on when it is to be stale."""
        embed = {"tasks", "counts", "deployments", "lastTaskFailure"}
        apps = [app_shape(app, self.cluster, embed) for app in self.cluster.apps.values()]
        answers = {"/v2/apps?embed=apps.lastTaskFailure&embed=apps.tasks": {"apps": apps}}
        answers["/v2/deployments"] = [deployment_shape(each) for each in self.cluster.deployments.values()]
        for app in apps:
            query = "embed=app.tasks&embed=app.deployments&embed=app.lastTaskFailure"
            answers[f"/v2/apps{app['id']}?{query}"] = {"app": app}
        return json.loads(json.dumps(answers))
