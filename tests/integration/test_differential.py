"""Applications that nobody here wrote answer through Waiter exactly as they do directly."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import psutil
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python import log
from twisted.trial.unittest import TestCase

from tests.integration.differential import Pair
from tests.integration.differential_requests import (
    DATASETTE,
    HTTPBIN,
    KILOBYTES,
    PYPISERVER,
    RADICALE,
    STREAMING,
    TRAILING,
)
from tests.integration.harness import RunningWaiter, service_headers
from tests.integration.raw_http import Connection
from tests.ports import free_port

HERE = Path(__file__).parent.absolute()
OLD_TIME = 1_600_000_000


class DifferentialTests(TestCase):
    timeout = 240
    maxDiff = None

    async def check(self, command, asked, *, health_check_url="/", **parameters):
        """
        Run a command by itself and through Waiter, each in a directory of its own, and compare the answers.

        @param command: has C{$PORT0} where the port goes.
        """
        # Some answers are in the order of a set.
        command = f"export PYTHONHASHSEED=0; exec {sys.executable} {command}"
        port = free_port()
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        output = (directory / "output").open("wb")
        self.addCleanup(output.close)
        process = subprocess.Popen(
            ["sh", "-c", command],
            cwd=directory,
            env={**os.environ, "PORT0": str(port)},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        self.addCleanup(end, process)
        waiter = await RunningWaiter(self).start()
        headers = service_headers(
            command, health_check_url=health_check_url, concurrency_level=4, cpus=1, mem=512, **parameters
        )
        first = await waiter.request(health_check_url, headers=headers)
        self.assertEqual(first.code, 200, first.body[:3000])
        (password,) = {found for found in map(password_of, waiter.instance_processes()) if found}
        lines = [f"{name}: {values[0]}".encode() for name, values in headers.items()]
        await answers(port, health_check_url)
        pair = Pair(port, waiter.port, lines, password)
        wrong = await deferToThread(compare_all, pair, asked)
        pair.close()
        self.assertEqual(wrong, [])
        log.msg(f"differential: {len(asked)} requests answered as they are directly")

    def needs(self, *modules):
        for module in modules:
            if find_spec(module) is None:
                self.skipTest(f"{module} is not installed; pip install 'txwaiter[differential]'")

    async def test_httpbin(self):
        """httpbin, under gunicorn."""
        self.needs("httpbin")
        await self.check(
            "-m gunicorn --threads 4 --bind 127.0.0.1:$PORT0 httpbin:app",
            HTTPBIN,
            health_check_url="/status/200",
        )

    async def test_radicale(self):
        """Radicale, a WebDAV server."""
        self.needs("radicale")
        await self.check(
            "-m radicale --config '' --hosts 127.0.0.1:$PORT0 --auth-type none "
            "--storage-filesystem-folder ./store --logging-level error",
            RADICALE,
            health_check_url="/.web/",
        )

    async def test_pypiserver(self):
        """pypiserver, which speaks HTTP/1.0."""
        self.needs("pypiserver")
        packages = self.files({"thing-1.0.tar.gz": KILOBYTES, "thing-1.1-py3-none-any.whl": b"wheel"})
        await self.check(
            f"-m pypiserver run --server wsgiref --disable-fallback -i 127.0.0.1 -p $PORT0 {packages}",
            PYPISERVER,
            health_check_url="/health",
        )

    async def test_datasette(self):
        """Datasette, under uvicorn."""
        self.needs("datasette")
        await self.check(
            "-m datasette serve --memory --host 127.0.0.1 --port $PORT0 --secret x",
            DATASETTE,
            health_check_url="/-/settings.json",
        )

    async def test_aiohttp(self):
        """What aiohttp streams, and its files."""
        self.needs("aiohttp")
        files = self.files({"file.bin": KILOBYTES, "empty": b"", "caf\u00e9.txt": b"x"})
        await self.check(f"{HERE}/streaming.py $PORT0 {files}", STREAMING, health_check_url="/health")

    async def test_h11(self):
        """Trailers in both directions."""
        await self.check(f"{HERE}/trailing.py $PORT0", TRAILING, health_check_url="/health")

    def files(self, contents):
        """A directory with files that were made long ago."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        for name, content in contents.items():
            path = directory / name
            path.write_bytes(content)
            os.utime(path, (OLD_TIME, OLD_TIME))
        return directory


def compare_all(pair, asked):
    wrong = []
    for one in asked:
        try:
            found = pair.differences(one)
        except (ConnectionError, TimeoutError, ValueError) as problem:
            pair.close()
            found = [repr(problem)]
        if found:
            wrong.append((one.method, one.target[:200], *found))
    return wrong


async def answers(port, path):
    """Wait until something answers on the port."""
    deadline = reactor.seconds() + 60
    while True:
        try:
            await deferToThread(probe, port, path)
        except OSError:
            if reactor.seconds() > deadline:
                raise
            await deferLater(reactor, 0.1)
        else:
            return


def probe(port, path):
    with Connection(port) as connection:
        connection.ask(b"GET", b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path.encode())


def password_of(process):
    try:
        return process.environ().get("WAITER_PASSWORD")
    except psutil.Error:
        return None


def end(process):
    process.kill()
    process.wait()
