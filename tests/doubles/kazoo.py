"""A ZooKeeper in memory and clients of it that have kazoo's shape, without threads."""

import itertools
from collections import defaultdict

from kazoo import exceptions
from kazoo.protocol.states import EventType, WatchedEvent, ZnodeStat


class Result:
    """What kazoo's asynchronous calls return."""

    def __init__(self):
        self.value = None
        self.exception = None
        self._ready = False
        self._callbacks = []

    def successful(self):
        return self.exception is None

    def rawlink(self, callback):
        self._callbacks.append(callback)
        if self._ready:
            # All of them, once more: as kazoo does.
            self._call()

    def set(self, value):
        self.value, self._ready = value, True
        self._call()

    def set_exception(self, exception):
        self.exception, self._ready = exception, True
        self._call()

    def _call(self):
        for callback in self._callbacks:
            callback(self)


class Node:
    def __init__(self, data, zxid, owner):
        self.data = data
        self.czxid = self.mzxid = zxid
        self.version = 0
        self.owner = owner
        self.children_made = 0

    def stat(self):
        return ZnodeStat(self.czxid, self.mzxid, 0, 0, self.version, 0, 0, self.owner, len(self.data), 0, 0)


class MemoryZooKeeper:
    """
    The server's side: nodes, sessions and watches.

    @ivar frozen: while it is true, connections stay and nothing is answered.
    @ivar granted_secs: the session timeout that clients made from now on are granted; C{None} for what they ask for.
    @ivar log: the calls that were answered, as (session, name, path).
    """

    def __init__(self):
        self.nodes = {"/": Node(b"", 0, 0)}
        self.sessions = set()
        self.clients = []
        self.frozen = False
        self.up = True
        self.log = []
        self.zxid = 0
        self.granted_secs = None
        self._session_ids = itertools.count(0x1000)
        self._watches = defaultdict(list)

    def client(self, ensemble, said):
        """For C{make_client}."""
        client = MemoryKazoo(self, ensemble, said)
        self.clients.append(client)
        return client

    # What a test does to it

    def go_down(self):
        """All connections break; sessions stay."""
        self.up = False
        for client in self.clients:
            client.lose_connection()

    def come_back(self, *, expired=()):
        """Take connections again; these sessions are over, as are those that were expired meanwhile."""
        for session in expired:
            self.end_session(session)
        self.up = True
        for client in self.clients:
            client.find_connection()

    def expire(self, client):
        """End a session and tell its client, as when it comes back too late."""
        client.lose_connection()
        self.end_session(client.session)
        client.find_connection()

    def lose_data(self):
        """Forget everything, as a server with a new disk would."""
        self.nodes = {"/": Node(b"", 0, 0)}
        self.sessions.clear()
        self.zxid = 0

    def end_session(self, session):
        self.sessions.discard(session)
        for path in [path for path, node in self.nodes.items() if node.owner == session]:
            self.delete(path)

    def children(self, path):
        """The names below a path, for tests to look at."""
        prefix = path.rstrip("/") + "/"
        return sorted(
            name[len(prefix) :]
            for name in self.nodes
            if name.startswith(prefix) and name != "/" and "/" not in name[len(prefix) :]
        )

    # Operations

    def create(self, path, data, *, owner, sequence):
        parent = path.rpartition("/")[0] or "/"
        if parent not in self.nodes:
            raise exceptions.NoNodeError
        if self.nodes[parent].owner:
            raise exceptions.NoChildrenForEphemeralsError
        if sequence:
            path = f"{path}{self.nodes[parent].children_made:010d}"
        if path in self.nodes:
            raise exceptions.NodeExistsError
        self.nodes[parent].children_made += 1
        self.nodes[path] = Node(data, self._next_zxid(), owner)
        self._fire(path, EventType.CREATED)
        self._fire(f"{parent}//", EventType.CHILD)
        return path

    def delete(self, path, version=-1):
        node = self._at(path, version)
        if self.children(path):
            raise exceptions.NotEmptyError
        del self.nodes[path]
        self._next_zxid()
        self._fire(path, EventType.DELETED)
        self._fire(f"{path.rpartition('/')[0] or '/'}//", EventType.CHILD)
        return node

    def set(self, path, data, version):
        node = self._at(path, version)
        node.data, node.version, node.mzxid = data, node.version + 1, self._next_zxid()
        self._fire(path, EventType.CHANGED)
        return node.stat()

    def get(self, path):
        return self._at(path, -1)

    def watch(self, key, client, callback):
        self._watches[key].append((client, callback))

    def drop_watches(self, client):
        """They end with the connection, and say so."""
        for watches in self._watches.values():
            for watch in [watch for watch in watches if watch[0] is client]:
                watches.remove(watch)
                watch[1](WatchedEvent(EventType.NONE, "CONNECTING", None))

    def new_session(self):
        session = next(self._session_ids)
        self.sessions.add(session)
        return session

    def commit(self, operations):
        """All or nothing, as one transaction."""
        before = {
            path: (node, node.data, node.version, node.mzxid, node.children_made) for path, node in self.nodes.items()
        }
        fired, self._fire = self._fire, lambda path, what: events.append((path, what))
        events, results = [], []
        try:
            for operation in operations:
                results.append(operation())  # noqa: PERF401 - how far it came is to be known
        except exceptions.ZookeeperError as error:
            self.nodes = {}
            for path, (node, *rest) in before.items():
                node.data, node.version, node.mzxid, node.children_made = rest
                self.nodes[path] = node
            position = len(results)
            rolled_back = [exceptions.RolledBackError() for _ in range(position)]
            rest = [exceptions.RuntimeInconsistency() for _ in operations[position + 1 :]]
            events.clear()
            return [*rolled_back, error, *rest]
        finally:
            self._fire = fired
        zxid = self._next_zxid()
        for node in self.nodes.values():
            if all(node.mzxid > mzxid for _, _, _, mzxid, _ in before.values()):
                node.mzxid = zxid
        for path, what in events:
            self._fire(path, what)
        return [result() if callable(result) else result for result in results]

    def _next_zxid(self):
        self.zxid += 1
        return self.zxid

    def _at(self, path, version):
        node = self.nodes.get(path)
        if node is None:
            raise exceptions.NoNodeError
        if version not in {-1, node.version}:
            raise exceptions.BadVersionError
        return node

    def _fire(self, key, what):
        for client, callback in self._watches.pop(key, ()):
            client.later(callback, WatchedEvent(what, "CONNECTED", key.removesuffix("//") or "/"))


class Transaction:
    def __init__(self, client):
        self._client = client
        self._server = client.server
        self._operations = []

    def create(self, path, data=b"", *, sequence=False):
        path = path.rstrip("/")
        self._operations.append(lambda: self._server.create(path, data, owner=0, sequence=sequence))

    def set_data(self, path, data, version=-1):
        def set_it():
            self._server.set(path, data, version)
            return lambda: self._server.get(path).stat()

        self._operations.append(set_it)

    def delete(self, path, version=-1):
        self._operations.append(lambda: self._server.delete(path, version) and True)

    def check(self, path, version):
        self._operations.append(lambda: self._server._at(path, version) and True)

    def commit_async(self):
        return self._client.call("commit", "", lambda: self._server.commit(self._operations))


class MemoryKazoo:
    """One client. Its answers and listeners come at once, from whoever's call caused them."""

    def __init__(self, server, ensemble, said):
        self.server = server
        self.ensemble = ensemble
        self.said = said
        self.session = None
        self.connected = False
        self.started = self.stopped = False
        self.last_zxid = 0
        self.granted_secs = server.granted_secs
        self.client_state = "CLOSED"
        self.state = "LOST"
        self._listeners = []
        self._pending = []

    @property
    def client_id(self):
        return (self.session, b"") if self.connected else None

    def add_listener(self, listener):
        self._listeners.append(listener)

    def start_async(self):
        self.started = True
        self.client_state = "CONNECTING"
        self.find_connection()

    def stop(self):
        self.stopped = True
        if self.connected:
            self.connected = False
            self.server.end_session(self.session)
        self._become("CLOSED", "LOST")

    def close(self):
        pass

    def find_connection(self):
        if not self.started or self.stopped or self.connected or not self.server.up:
            return
        if self.last_zxid > self.server.zxid:
            # A server that knows less than its client refuses it.
            return
        if self.session not in self.server.sessions:
            if self.session is not None:
                self._become("EXPIRED_SESSION", "LOST")
            self.session = self.server.new_session()
        self.connected = True
        self._become("CONNECTED", "CONNECTED")

    def lose_connection(self):
        if not self.connected:
            return
        self.connected = False
        pending, self._pending = self._pending, []
        for result in pending:
            result.set_exception(exceptions.ConnectionLoss())
        self._become("CONNECTING", "SUSPENDED")
        self.server.drop_watches(self)

    def give_up(self, word="CLOSED"):
        """As when kazoo's thread ends."""
        self.connected = False
        self._become(word, "LOST")

    def later(self, callback, event):
        callback(event)

    def call(self, name, path, operation):
        result = Result()
        if self.client_state in {"CLOSED", "AUTH_FAILED"}:
            result.set_exception(exceptions.ConnectionClosedError())
        elif not self.connected or self.server.frozen:
            self._pending.append(result)
        else:
            self.server.log.append((self.session, name, path))
            try:
                value = operation()
            except exceptions.ZookeeperError as error:
                result.set_exception(error)
            else:
                self.last_zxid = self.server.zxid
                result.set(value)
        return result

    def get_async(self, path):
        def get():
            node = self.server.get(path)
            return node.data, node.stat()

        return self.call("get", path, get)

    def exists_async(self, path, watch=None):
        def exists():
            if watch is not None:
                self.server.watch(path, self, watch)
            node = self.server.nodes.get(path)
            return None if node is None else node.stat()

        return self.call("exists", path, exists)

    def get_children_async(self, path, watch=None):
        def children():
            self.server.get(path)
            if watch is not None:
                self.server.watch(f"{path}//", self, watch)
            return self.server.children(path)

        return self.call("get_children", path, children)

    def sync_async(self, path):
        return self.call("sync", path, lambda: path)

    def create_async(self, path, data, *, ephemeral, sequence, include_data):
        def create():
            made = self.server.create(path, data, owner=self.session if ephemeral else 0, sequence=sequence)
            return made, self.server.nodes[made].stat()

        return self.call("create", path, create)

    def set_async(self, path, data, version):
        return self.call("set", path, lambda: self.server.set(path, data, version))

    def delete_async(self, path, version):
        return self.call("delete", path, lambda: self.server.delete(path, version) and True)

    def transaction(self):
        return Transaction(self)

    def _become(self, word, state):
        self.client_state = word
        if state != self.state:
            self.state = state
            for listener in list(self._listeners):
                listener(state)
