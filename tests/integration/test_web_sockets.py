"""WebSockets through a real Waiter, between clients and servers that nobody here wrote."""

import asyncio
import signal
import socket
import struct
from pathlib import Path

import aiohttp
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.integration.harness import RunningWaiter, python_path, service_headers, until

HERE = Path(__file__).parent.absolute()
BLOB = bytes(range(256)) * 4096
OPENING_SECS = 60


class WebSocketTests(TestCase):
    timeout = 180

    async def served(self, script="websocket_echo.py", **parameters):
        """A Waiter, and how to describe the service that the script is."""
        self.waiter = await RunningWaiter(self).start()
        parameters = {"health_check_url": "/health", "mem": 128, "env_PATH": python_path(), **parameters}
        headers = service_headers(f"exec python3 {HERE}/{script} $PORT0", **parameters)
        self.service_id = await self.waiter.service_id(headers)
        self.headers = {name: values[0] for name, values in headers.items()}

    def client(self, path="/", **options):
        options = {"max_size": None, "open_timeout": OPENING_SECS, "additional_headers": self.headers, **options}
        return connect(f"ws://127.0.0.1:{self.waiter.port}{path}", **options)

    async def whenNothingIsInUse(self):
        """The slots are free again."""

        async def metrics():
            text = (await self.waiter.request("/metrics")).body.decode()
            slots = f'waiter_service_slots{{service_id="{self.service_id}",state="in-use"}} 0.0'
            return slots in text and "waiter_upgrades_open 0.0" in text

        await until(metrics, bool)

    async def whenInstancesWrote(self, words):
        async def output():
            return "".join(path.read_text() for path in self.waiter.state.glob("services/*/*/stdout"))

        return await until(output, lambda text: words in text)

    async def test_messages(self):
        """Texts, mebibytes, fragments and pings pass in both directions, compressed and not."""
        await self.served()
        for compression in ("deflate", None):
            await deferToThread(self._talk, compression)
        await self.whenNothingIsInUse()
        await self.whenInstancesWrote("closed with 1000")

    def _talk(self, compression):
        with self.client(compression=compression) as client:
            self.assertEqual(bool(client.protocol.extensions), compression is not None)
            client.send("hello")
            self.assertEqual(client.recv(timeout=60), "hello")
            client.send(BLOB)
            self.assertTrue(client.recv(timeout=60) == BLOB)
            self.assertTrue(client.ping().wait(60))
            for size in (0, 1, 125, 126, 127, 65535, 65536):
                client.send(BLOB[:size])
                self.assertTrue(client.recv(timeout=60) == BLOB[:size])
        with self.client("/pieces", compression=compression) as client:
            client.send([BLOB[:1000], b"", BLOB[1000:200000], BLOB[200000:]])
            pieces = list(client.recv_streaming())
            self.assertGreater(len(pieces), 2)
            self.assertTrue(b"".join(pieces) == BLOB)

    async def test_anotherPair(self):
        """aiohttp speaks with aiohttp, in the sub-protocol that both know."""
        await self.served("aiohttp_echo.py")
        await deferToThread(lambda: asyncio.run(self._talkAsAiohttp()))
        await self.whenNothingIsInUse()

    async def _talkAsAiohttp(self):
        url = f"http://127.0.0.1:{self.waiter.port}/echo"
        async with (
            aiohttp.ClientSession(headers=self.headers) as session,
            session.ws_connect(url, max_msg_size=0, compress=15, protocols=("first", "second")) as client,
        ):
            self.assertEqual((client.protocol, bool(client.compress)), ("second", True))
            await client.send_bytes(BLOB)
            self.assertTrue(await client.receive_bytes(timeout=60) == BLOB)
            await client.send_str("text")
            self.assertEqual(await client.receive_str(timeout=60), "text")
            await client.close(code=4000)

    async def test_manyAtOnce(self):
        """200 sockets at once, on an instance each of which takes 200 at once."""
        await self.served(concurrency_level=200)
        await deferToThread(lambda: asyncio.run(self._talkWithMany(200)))
        await self.whenNothingIsInUse()

    async def _talkWithMany(self, number):
        url = f"ws://127.0.0.1:{self.waiter.port}/"
        everybody_is_there = asyncio.Barrier(number)

        async def talk(index):
            async with connect_async(url, additional_headers=self.headers, open_timeout=OPENING_SECS) as client:
                async with asyncio.timeout(OPENING_SECS):
                    await everybody_is_there.wait()
                for turn in range(5):
                    await client.send(f"{index} {turn} " + "x" * 5000)
                    self.assertTrue((await client.recv()).startswith(f"{index} {turn} "))

        await asyncio.gather(*map(talk, range(number)))

    async def test_whenWaiterStopsBothSidesAreToldSo(self):
        """On SIGTERM the client gets 1001, and the instance gets the client's answer to that."""
        await self.served(cpus=1, termination_grace_period_secs=20)
        opened = Deferred()

        def talk():
            with self.client() as client:
                client.send("hello")
                client.recv(timeout=60)
                reactor.callFromThread(opened.callback, None)
                with self.assertRaises(ConnectionClosed) as caught:
                    client.recv(timeout=60)
                return caught.exception.rcvd

        talking = deferToThread(talk)
        await opened
        stopping = Deferred.fromCoroutine(self.waiter.stop(signal.SIGTERM))
        received = await talking
        self.assertEqual((received.code, received.reason), (1001, "going away"))
        self.assertEqual(await stopping, -signal.SIGTERM)
        await self.whenInstancesWrote("closed with 1001")

    async def test_whenTheInstanceDiesTheClientSeesAnAbnormalEnd(self):
        """An instance that dies in the middle of a frame ends the client's connection with no close frame."""
        await self.served()

        def talk():
            with self.client("/dying") as client:
                client.send("now")
                with self.assertRaises(ConnectionClosed) as caught:
                    client.recv(timeout=60)
                return caught.exception.rcvd, client.close_code

        self.assertEqual(await deferToThread(talk), (None, 1006))
        await self.whenNothingIsInUse()

    async def test_whenTheClientIsGoneTheInstanceIsToldAndTheSlotIsFree(self):
        """A client that resets its connection, or just closes it, uses no slot any more."""
        await self.served()
        for reset in (True, False):

            def talk(reset=reset):
                client = self.client()
                client.send("hello")
                client.recv(timeout=60)
                if reset:
                    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                # A thread of the client's reads it, so that closing it would not be enough.
                client.socket.shutdown(socket.SHUT_RDWR)
                client.socket.close()

            await deferToThread(talk)
            await self.whenNothingIsInUse()
        await self.whenInstancesWrote("closed with 1006")

    async def test_whatIsRefusedIsAnAnswer(self):
        """An instance that refuses the handshake answers as it likes."""
        await self.served()

        def ask():
            with self.assertRaises(InvalidStatus) as caught:
                self.client("/health")
            return caught.exception.response

        response = await deferToThread(ask)
        self.assertEqual((response.status_code, response.body), (200, b"healthy\n"))
        await self.whenNothingIsInUse()
