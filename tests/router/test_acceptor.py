import errno
import socket

from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from waiter.router.acceptor import MOST_AT_ONCE, REST_SECS, SILENCE_SECS, Acceptor
from waiter.router.door import Door


class Accepted:
    """A socket that has been accepted."""

    shut = False
    closed = False

    def shutdown(self, how):
        self.shut = True

    def close(self):
        self.closed = True


class Listening:
    """A listening socket with a script: what each C{accept} gives or raises; then nobody is there."""

    def __init__(self):
        self.script = []
        self.accepts = 0
        self.closed = False

    def accept(self):
        self.accepts += 1
        if not self.script:
            raise BlockingIOError(errno.EAGAIN, "nobody")
        step = self.script.pop(0)
        if isinstance(step, int):
            raise OSError(step, "scripted")
        return step, ("192.0.2.1", 1)

    def fileno(self):
        return -1 if self.closed else 7

    def close(self):
        self.closed = True


class AcceptorTests(SynchronousTestCase):
    def setUp(self):
        self.reactor = MemoryReactorClock()
        self.listening = Listening()
        self.admitted = []
        self.acceptor = Acceptor(
            self.reactor, self.listening, lambda *accepted: self.admitted.append(accepted), "tcp:1"
        )
        self.events = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    @property
    def reading(self):
        return self.acceptor in self.reactor.getReaders()

    def errors(self):
        return [event for event in self.events if event["log_level"] >= LogLevel.error]

    def test_isWhatAReactorReadsFrom(self):
        self.assertTrue(verifyObject(IReadDescriptor, self.acceptor))

    def test_acceptsFromStartToStop(self):
        self.assertFalse(self.reading)
        self.acceptor.start()
        self.assertTrue(self.reading)
        self.acceptor.stop()
        self.assertFalse(self.reading)
        self.assertTrue(self.listening.closed)

    def test_whoComesIsAdmitted(self):
        client = Accepted()
        self.listening.script = [client]
        self.acceptor.start()
        self.acceptor.doRead()
        self.assertEqual(self.admitted, [(client, ("192.0.2.1", 1))])
        self.assertEqual(self.acceptor.accepted, 1)

    def test_whenOneComesAtATimeHardlyAnyTryIsInVain(self):
        self.acceptor.start()
        for _ in range(100):
            self.listening.script = [Accepted()]
            self.acceptor.doRead()
        self.assertEqual(self.acceptor.accepted, 100)
        self.assertLessEqual(self.listening.accepts, 151)

    def test_whenManyComeManyAreTakenButNotAllAtOnce(self):
        self.acceptor.start()
        self.listening.script = [Accepted() for _ in range(1000)]
        most = rounds = 0
        while self.listening.script:
            rounds += 1
            before = self.acceptor.accepted
            self.acceptor.doRead()
            most = max(most, self.acceptor.accepted - before)
        self.assertEqual(most, MOST_AT_ONCE)
        self.assertLess(rounds, 30)

    def test_whenThereAreNoMoreFilesItRestsAndTriesAgain(self):
        for problem in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EINVAL):
            client = Accepted()
            self.listening.script = [problem, client]
            self.acceptor.start()
            self.acceptor.doRead()
            self.assertFalse(self.reading)
            self.assertNotIn((client, ("192.0.2.1", 1)), self.admitted)
            self.reactor.advance(REST_SECS)
            self.assertTrue(self.reading)
            self.acceptor.doRead()
            self.assertEqual(self.admitted[-1], (client, ("192.0.2.1", 1)))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_whenThatGoesOnItIsLoggedNowAndThen(self):
        self.acceptor.start()
        for _ in range(int(SILENCE_SECS / REST_SECS) + 1):
            self.listening.script = [errno.EMFILE]
            self.acceptor.doRead()
            self.reactor.advance(REST_SECS)
        self.assertEqual(len(self.errors()), 2)
        self.assertEqual(self.errors()[0]["reason"], "Too many open files")

    def test_itCanBeStoppedWhileItRests(self):
        self.listening.script = [errno.EMFILE]
        self.acceptor.start()
        self.acceptor.doRead()
        self.acceptor.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertTrue(self.listening.closed)

    def test_aConnectionThatBrokeInTheQueueIsPassedOver(self):
        client = Accepted()
        self.listening.script = [client, errno.ECONNABORTED, errno.EPROTO, client]
        self.acceptor.start()
        self.acceptor.doRead()
        self.acceptor.doRead()
        self.acceptor.doRead()
        self.assertEqual(self.acceptor.accepted, 2)
        self.assertEqual((self.reactor.getDelayedCalls(), self.errors()), ([], []))

    def test_whenOneCannotBeServedItIsClosedAndTheNextIsServed(self):
        first, second = Accepted(), Accepted()
        served = []

        def admit(accepted, _):
            if accepted is first:
                raise ZeroDivisionError
            served.append(accepted)

        acceptor = Acceptor(self.reactor, self.listening, admit, "tcp:1")
        self.listening.script = [first, second]
        acceptor.start()
        acceptor.doRead()
        acceptor.doRead()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(first.shut)
        self.assertTrue(first.closed)
        self.assertEqual(served, [second])

    def test_whenOneCannotBeServedForWantOfFilesTheOthersWait(self):
        first, second = Accepted(), Accepted()
        problems = [OSError(errno.EMFILE, "scripted")]
        served = []

        def admit(accepted, _):
            if problems:
                raise problems.pop()
            served.append(accepted)

        acceptor = Acceptor(self.reactor, self.listening, admit, "tcp:1")
        self.listening.script = [first, second]
        acceptor.start()
        acceptor.doRead()
        self.assertTrue(first.closed)
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(len(self.errors()), 1)
        self.reactor.advance(REST_SECS)
        acceptor.doRead()
        self.assertEqual(served, [second])

    def test_whenOneIsGoneBeforeItIsServedNothingIsLogged(self):
        def admit(accepted, _):
            raise OSError(errno.ENOTCONN, "scripted")

        acceptor = Acceptor(self.reactor, self.listening, admit, "tcp:1")
        self.listening.script = [Accepted()]
        acceptor.start()
        acceptor.doRead()
        self.assertEqual(self.errors(), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_whilePausedNobodyIsAccepted(self):
        self.acceptor.start()
        self.acceptor.pause()
        self.assertFalse(self.reading)
        self.acceptor.resume()
        self.assertTrue(self.reading)

    def test_oneThatIsPausedBeforeItStartsWaits(self):
        self.acceptor.pause()
        self.acceptor.start()
        self.assertFalse(self.reading)
        self.acceptor.resume()
        self.assertTrue(self.reading)

    def test_afterTheEndNothingIsResumed(self):
        self.acceptor.start()
        self.acceptor.pause()
        self.acceptor.stop()
        self.acceptor.resume()
        self.assertFalse(self.reading)

    def test_whenOnePausesItTheNextInTheQueueStayThere(self):
        acceptor = Acceptor(self.reactor, self.listening, lambda *_: acceptor.pause(), "tcp:1")
        acceptor.start()
        acceptor._burst = 10
        self.listening.script = [Accepted(), Accepted(), Accepted()]
        acceptor.doRead()
        self.assertEqual((acceptor.accepted, len(self.listening.script)), (1, 2))

    def test_aRestThatEndsDoesNotEndThePause(self):
        self.listening.script = [errno.EMFILE]
        self.acceptor.start()
        self.acceptor.doRead()
        self.acceptor.pause()
        self.reactor.advance(REST_SECS)
        self.assertFalse(self.reading)
        self.acceptor.resume()
        self.assertTrue(self.reading)

    def test_aClientWithEnoughConnectionsIsToldSo(self):
        door = Door(most_per_address=1)
        door.came("127.0.0.1")
        with socket.socket() as listening, socket.socket() as client:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            listening.setblocking(False)
            client.connect(listening.getsockname())
            acceptor = Acceptor(self.reactor, listening, self.fail, "tcp:0", door=door)
            acceptor.start()
            acceptor.doRead()
            client.settimeout(60)
            answer = client.recv(1000)
            self.assertEqual(answer[:30], b"HTTP/1.1 429 Too Many Requests")
            self.assertTrue(answer.endswith(b"\r\n\r\nToo many connections from your address.\n"))
            self.assertIn(b"\r\ncontent-length: 40\r\n", answer)
            self.assertEqual(client.recv(1000), b"")
            acceptor.stop()

    def test_whereTLSIsSpokenItIsNotTold(self):
        door = Door(most_per_address=1)
        door.came("192.0.2.1")
        client = Accepted()
        self.listening.script = [client]
        acceptor = Acceptor(self.reactor, self.listening, self.fail, "tcp:0", door=door, refusal=b"")
        acceptor.start()
        acceptor.doRead()
        self.assertTrue(client.closed)

    def test_aRealSocketIsAcceptedFrom(self):
        with socket.socket() as listening, socket.socket() as client:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            listening.setblocking(False)
            client.connect(listening.getsockname())
            acceptor = Acceptor(self.reactor, listening, lambda *accepted: self.admitted.append(accepted), "tcp:0")
            acceptor.doRead()
            acceptor.doRead()
            [(accepted, name)] = self.admitted
            self.assertEqual(name, client.getsockname())
            accepted.close()
