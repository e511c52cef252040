"""TLS with clients and with instances, as curl and other people's servers speak it."""

import shutil
import ssl
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from websockets.sync.client import connect

from tests.certificates import Authority
from tests.integration.harness import RunningWaiter, free_port, python_path, service_headers, until

HERE = Path(__file__).parent.absolute()
CURL = shutil.which("curl")


class Gathered(ProcessProtocol):
    """What a program wrote."""

    def __init__(self):
        self.output = b""
        self.ended = Deferred()

    def outReceived(self, data):
        self.output += data

    def errReceived(self, data):
        self.output += data

    def processEnded(self, reason):
        self.ended.callback((reason.value.exitCode, self.output.decode()))


def run(*command):
    """Run a program; fires with its exit code and output."""
    gathered = Gathered()
    reactor.spawnProcess(gathered, command[0], command, env=None)
    return gathered.ended


class SecureTests(TestCase):
    timeout = 180

    def setUp(self):
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.authority = Authority()
        self.authority_file = self.folder / "authority.crt"
        self.authority_file.write_bytes(self.authority.pem)

    def write(self, name, issued):
        path = self.folder / name
        path.write_bytes(issued.pem + issued.key_pem)
        return path

    def curl(self, url, *options, headers=None):
        lines = [f"{name}: {value}" for name, values in (headers or {}).items() for value in values]
        options = [*options, *(word for line in lines for word in ("-H", line))]
        return run(CURL, "-sS", "--max-time", "60", "--cacert", str(self.authority_file), *options, url)


class ClientsTests(SecureTests):
    """C{--http tls:}."""

    async def test_curlAndAWebSocket(self):
        """HTTP and WebSockets work over TLS; the instance is told so; a new certificate is shown when its file changes."""
        certificates = self.folder / "certificates"
        certificates.mkdir()
        port = free_port()
        self.write("certificates/server.pem", self.authority.issue("localhost", "old.example"))
        self.write("certificates/virtual.pem", self.authority.issue("virtual.example"))
        waiter = await RunningWaiter(
            self, arguments=["--http", f"tls:{certificates}:{port}:interface=127.0.0.1"]
        ).start()
        headers = service_headers(
            f"exec python3 {HERE}/websocket_echo.py $PORT0", health_check_url="/health", env_PATH=python_path()
        )
        code, output = await self.curl(f"https://localhost:{port}/health", "-v", headers=headers)
        self.assertEqual((code, "healthy\n" in output), (0, True), output)
        self.assertIn("http/1.1", output)
        code, output = await self.curl(
            f"https://virtual.example:{port}/health",
            "--resolve",
            f"virtual.example:{port}:127.0.0.1",
            headers={**headers, "host": ["localhost"]},
        )
        self.assertEqual((code, output), (0, "healthy\n"))
        code, output = await self.curl(f"http://localhost:{port}/health")
        self.assertIn("https://", output)

        def talk():
            context = ssl.create_default_context(cafile=self.authority_file)
            blob = bytes(range(256)) * 4096
            with connect(
                f"wss://localhost:{port}/",
                ssl=context,
                additional_headers={name: values[0] for name, values in headers.items()},
                max_size=None,
                open_timeout=60,
            ) as client:
                client.send(blob)
                self.assertTrue(client.recv(timeout=20) == blob)

        await deferToThread(talk)
        new = "--resolve", f"new.example:{port}:127.0.0.1"
        code, output = await self.curl(f"https://new.example:{port}/", *new)
        self.assertNotEqual(code, 0, output)
        self.write("certificates/server.pem", self.authority.issue("localhost", "new.example"))
        await until(lambda: self.curl(f"https://new.example:{port}/", *new), lambda ended: ended[0] == 0)
        self.assertIn("were read again", waiter.output)

    async def test_whatTheInstanceIsTold(self):
        """An instance is told that the client came by https."""
        port = free_port()
        path = self.write("server.pem", self.authority.issue("localhost"))
        await RunningWaiter(self, arguments=["--http", f"ssl:{port}:privateKey={path}:interface=127.0.0.1"]).start()
        headers = service_headers(f"exec {sys.executable} {HERE}/header_echo.py $PORT0")
        code, output = await self.curl(f"https://localhost:{port}/x-forwarded-proto", headers=headers)
        self.assertEqual((code, output), (0, "https"))

    async def test_aCertificateThatIsNotThere(self):
        """A start without the certificate fails and says which file is missing."""
        endpoint = f"ssl:{free_port()}:privateKey=/nowhere/server.pem:interface=127.0.0.1"
        waiter = RunningWaiter(self, arguments=["--http", endpoint])
        with self.assertRaises(AssertionError):
            await waiter.start()
        self.assertIn("/nowhere/server.pem cannot be read: No such file or directory", waiter.output)
        self.assertNotIn("Traceback", waiter.output)


if CURL is None:
    SecureTests.skip = "curl is not installed"
