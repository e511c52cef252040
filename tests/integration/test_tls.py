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
from tests.integration.harness import RunningWaiter, python_path, service_headers, until
from tests.ports import free_port

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


class InstancesTests(SecureTests):
    """C{backend-proto: https}."""

    async def waiter(self, **settings):
        environment = {f"WAITER_BACKEND_TLS_{name.upper()}": str(value) for name, value in settings.items()}
        return await RunningWaiter(self, environment=environment).start()

    def service(self, issued, **parameters):
        """How to describe an instance that has this certificate."""
        path = self.write(f"{issued.serial}.pem", issued)
        return service_headers(
            f"exec {sys.executable} {HERE}/header_echo.py $PORT0 --certificate {path}",
            backend_proto="https",
            **parameters,
        )

    async def test_onThisMachineNothingHasToBeProved(self):
        """Without settings, an instance on this machine may show whatever certificate; the connection is kept."""
        waiter = await self.waiter()
        headers = self.service(Authority("Nobody").issue("nobody.example", days=-1))
        for _ in range(3):
            answer = await waiter.request("/x-waiter-auth-principal", headers=headers)
            self.assertEqual((answer.code, bool(answer.body)), (200, True), answer.body)

    async def test_whatIsProved(self):
        """With authorities, an instance whose certificate is for its address, or for the name that is set, is believed."""
        waiter = await self.waiter(ca_file=self.authority_file)
        headers = self.service(self.authority.issue(addresses=["127.0.0.1"]))
        answer = await waiter.request("/host", headers=headers)
        self.assertEqual((answer.code, answer.body), (200, f"127.0.0.1:{waiter.port}".encode()))
        named = await self.waiter(ca_file=self.authority_file, server_name="api.example")
        answer = await named.request("/host", headers=self.service(self.authority.issue("api.example")))
        self.assertEqual(answer.code, 200)

    async def test_whatIsNotProved(self):
        """An instance that is not believed does not become healthy, and the answer says that TLS is the reason."""
        waiter = await self.waiter(ca_file=self.authority_file)
        headers = self.service(self.authority.issue("api.example"), grace_period_secs=6)
        answer = await waiter.request("/host", headers=headers)
        self.assertEqual(answer.code, 503)
        self.assertIn("Unable to complete TLS handshake with backend", answer.body.decode())

    async def test_whatIsNotProvedBehindAnotherHealthCheck(self):
        """Where the health check goes elsewhere, the request is refused with 502 and the reason."""
        waiter = await self.waiter(ca_file=self.authority_file)
        path = self.write("other.pem", self.authority.issue("api.example"))
        headers = service_headers(
            f"{sys.executable} {HERE}/header_echo.py $PORT1 & exec {sys.executable} {HERE}/header_echo.py $PORT0 "
            f"--certificate {path}",
            backend_proto="https",
            health_check_proto="http",
            health_check_port_index=1,
            ports=2,
        )

        async def ask():
            return await waiter.request("/host", headers=headers)

        # Until the second server is there, it is refused for another reason.
        answer = await until(ask, lambda answer: b"could not prove who it is" in answer.body)
        self.assertEqual(answer.code, 502)
        self.assertIn("the certificate for 127.0.0.1 is not accepted: it is for api.example", answer.body.decode())

    async def test_gunicorn(self):
        """gunicorn with a certificate takes an upload and sends it back."""
        waiter = await self.waiter(ca_file=self.authority_file)
        path = self.write("gunicorn.pem", self.authority.issue(addresses=["127.0.0.1"]))
        headers = service_headers(
            f"exec python3 -m gunicorn --chdir {HERE} --threads 2 --bind 127.0.0.1:$PORT0 --certfile {path} --keyfile {path} "
            "wsgi_application:application",
            health_check_url="/length",
            mem=256,
            env_PATH=python_path(),
            backend_proto="https",
        )
        body = bytes(range(256)) * 4096
        for _ in range(2):
            echoed = await waiter.request("/echo", method="POST", headers=headers, data=body)
            self.assertEqual((echoed.code, echoed.body == body), (200, True), echoed.body[:500])
            chunked = await waiter.request("/chunked", headers=headers)
            self.assertEqual((chunked.length, chunked.body), (None, b"chunk " * 100))

    async def test_aFileThatIsNoAuthority(self):
        """A start with authorities that cannot be read fails and says why."""
        for path, words in (("/nowhere/ca.pem", "cannot be read: No such file"), (__file__, "no certificate in it")):
            with self.assertRaises(AssertionError) as caught:
                await self.waiter(ca_file=path)
            self.assertIn(f"backend-tls.ca-file: {path}", str(caught.exception))
            self.assertIn(words, str(caught.exception))
            self.assertNotIn("Traceback", str(caught.exception).partition("Waiter did not start")[2])


if CURL is None:
    SecureTests.skip = "curl is not installed"
