"""A real ZooKeeper server, started for a test on a free port, with its data in a temporary directory."""

import atexit
import itertools
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from tests.integration.harness import until
from tests.ports import free_port

JAVA = Path("/usr/share/java")
JARS = tuple(JAVA / f"{name}.jar" for name in ("zookeeper", "zookeeper-jute"))
# For TLS; the manifest of Debian's zookeeper.jar leaves them out.
MORE_JARS = tuple(JAVA / f"netty-{name}.jar" for name in ("codec", "resolver", "transport-native-unix-common"))
MAIN = "org.apache.zookeeper.server.ZooKeeperServerMain"

#: What it grants at most.
LONGEST_SESSION_SECS = 60

#: Why tests are skipped, or None: to be set as a TestCase's C{skip}.
MISSING = (
    None
    if shutil.which("java") and all(jar.exists() for jar in JARS)
    else "ZooKeeper is not installed (apt-get install zookeeper)"
)


class ZooKeeperServer:
    """
    One server in a process of its own.

    Its ticks are short, so that sessions may be as short as 400 ms.

    @ivar hosts: for a connect string.
    """

    def __init__(self, directory, *, certificate=None):
        """@param certificate: what it says that it is, by TLS, on C{secure_hosts}; an L{tests.certificates.Issued}."""
        self.port = free_port()
        self.hosts = f"127.0.0.1:{self.port}"
        self._certificate = certificate
        self._secure_port = None if certificate is None else free_port()
        self.secure_hosts = f"127.0.0.1:{self._secure_port}"
        self._directory = Path(directory).absolute()
        self._process = None

    async def start(self):
        """Start it, or start it again with the data it had; returns when it answers."""
        data = self._directory / "data"
        data.mkdir(parents=True, exist_ok=True)
        settings = self._directory / "zoo.cfg"
        settings.write_text(
            "\n".join(
                [
                    "tickTime=200",
                    f"maxSessionTimeout={LONGEST_SESSION_SECS * 1000}",
                    f"dataDir={data}",
                    f"clientPort={self.port}",
                    "clientPortAddress=127.0.0.1",
                    "admin.enableServer=false",
                    "maxClientCnxns=0",
                    "4lw.commands.whitelist=ruok,srvr",
                    *self._tls(),
                    "",
                ]
            )
        )
        command = [
            "java",
            "-Xmx128m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-cp",
            ":".join(map(str, (*JARS, *MORE_JARS))),
        ]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, MAIN, str(settings)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._directory
            )
        await until(self._answers, lambda answers: answers, within_secs=60)
        return self

    def _tls(self):
        if self._certificate is None:
            return []
        store = self._directory / "server.pem"
        store.write_bytes(self._certificate.key_pem + self._certificate.pem)
        return [
            f"secureClientPort={self._secure_port}",
            "secureClientPortAddress=127.0.0.1",
            "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory",
            f"ssl.keyStore.location={store}",
            "ssl.keyStore.type=PEM",
            "ssl.clientAuth=none",
        ]

    def kill(self):
        """End it at once, as a crash would."""
        self._process.kill()
        self._process.wait()

    def forget(self):
        """Lose all data, while it is not running."""
        shutil.rmtree(self._directory / "data")

    def freeze(self):
        """Let it stand still: connections stay open and nothing is answered."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self):
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    async def _answers(self):
        if self._process.poll() is not None:
            raise AssertionError(f"ZooKeeper did not start:\n{(self._directory / 'log').read_text()}")
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"ruok")
                return connection.recv(4) == b"imok"
        except OSError:
            return False

    def end(self):
        """End it, whatever state it is in. May be called again."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


async def own_server(case, **options):
    """A running server for one test alone, which may do to it what it likes."""
    server = ZooKeeperServer(case.mktemp(), **options)
    case.addCleanup(server.end)
    return await server.start()


_shared = []
_roots = itertools.count(1)


async def shared_root():
    """The hosts of, and a path with nothing below it on, a server that all tests of this process use and none may harm."""
    if not _shared:
        directory = tempfile.mkdtemp(prefix="waiter-zookeeper-")
        server = ZooKeeperServer(directory)
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        atexit.register(server.end)
        _shared.append(await server.start())
    return _shared[0].hosts, f"/test-{next(_roots)}"
