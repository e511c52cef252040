"""One request for a service, from its head to the end of its answer."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from waiter.admin.negotiation import internal_error
from waiter.catalog.descriptor import Descriptor
from waiter.errors import RequestTimeout, WaiterError
from waiter.model.instance import Instance
from waiter.model.outcome import Outcome
from waiter.reservation.lease import Lease
from waiter.reservation.refusals import shutting_down
from waiter.router.accounting import count_end, log_line
from waiter.router.answers import Answer
from waiter.router.attempt import Attempt
from waiter.router.backend_connection import BackendConnection
from waiter.router.blame import not_connected, outcome_of
from waiter.router.conditions import answered_here, whole_answer
from waiter.router.course import Course
from waiter.router.failure_answer import failure_answer, own_debug_lines
from waiter.router.gathering import Gathering, must_gather
from waiter.router.interface import IResponder
from waiter.router.own_answer import CONTINUE
from waiter.router.phase import Phase
from waiter.router.request import Request
from waiter.router.retries import IDEMPOTENT
from waiter.router.tunnel import Tunnel
from waiter.router.upload import Upload

if TYPE_CHECKING:
    from waiter.router.client_connection import ClientConnection

_MOST_RESENDS = 2
_FINDING, _ASKING, _ANSWERING, _OVER = Phase


@implementer(IResponder)
class Exchange(Course):
    """
    Resolves a request, reserves a slot, has its instance answer, and gives the slot back, exactly once, however this ends.

    Where nothing has to be waited for, all up to the sending of the request is one call.

    @ivar cid: the correlation id: the client's or the C{unique_id}.
    @ivar keep: whether the client's connection may be used for another request.
    @ivar continued: whether the client was told to go on with its body.
    """

    _log = Logger()

    # What few requests change is not set for each.
    taking = False
    touched = True
    since = 0.0
    keep = True
    continued = False
    _resends = 0
    _phase = _FINDING
    _lease: Lease | None = None
    _attempt: Attempt | Gathering | None = None
    _waiting: Deferred[Any] | None = None
    _upload: Upload | None = None
    _busy_before = False

    def __init__(self, client: "ClientConnection", request: Request) -> None:
        """
        @param client: the connection the request came on.
        """
        self.request = request
        self.client = client
        self._parts = parts = client.parts
        self.unique_id = unique_id = parts.unique_id()
        headers = request.headers
        self.cid = headers.cid or unique_id
        if not headers.bodiless:
            keep_bytes = parts.limits.replay_bytes if request.method in IDEMPOTENT else 0
            self._upload = Upload(request, keep_bytes=keep_bytes, most_bytes=parts.limits.body_bytes)

    # Finding an instance

    def begin(self) -> None:
        """Resolve, reserve and ask, as far as that goes without waiting."""
        headers = self.request.headers
        try:
            if headers is not self.client.admitted:
                self.client.admit(headers)
            if self._upload is not None:
                self._upload.check_length()
            found = self._parts.resolver.resolve(headers.host, headers.waiter)
            if isinstance(found, Descriptor):
                self._described(found)
            else:
                self._await(found, self._described, self._refused)
        except Exception as error:  # noqa: BLE001 - one request must not take others down
            self._failed(error)

    def _described(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor
        service = descriptor.service
        self.numbers = numbers = self._parts.metrics.service(service.id)
        numbers.total += 1
        self.reserver = self._parts.reservers.reserver(service)
        self.known = True
        answer = None if descriptor.conditions is None else answered_here(self, descriptor.conditions)
        if answer is not None:
            self._answer_here(*answer)
            return
        self._reserve(descriptor.queue_timeout_secs)

    def _answer_here(self, status: int, lines: bytes) -> None:
        """Answer without an instance."""
        self.status = status
        keep = self.may_keep()
        answer = whole_answer(self, status, lines, keep=keep)
        self.request.discard()
        self._over(Outcome.SUCCESS, self._parts.clock.seconds())
        self.client.transport.write(answer)
        self.client.answered(keep=keep)

    def _reserve(self, timeout_secs: float) -> None:
        lease = self.reserver.reserve(timeout_secs=timeout_secs)
        if isinstance(lease, Lease):
            self._leased(lease)
        else:
            self._await(lease, self._leased, self._refused)

    def _leased(self, lease: Lease) -> None:
        numbers = self.numbers
        self._lease = lease
        self._phase = _ASKING
        numbers.waiting_to_stream += 1
        self.instance = instance = lease.instance
        self.asked_at = since = lease.since
        if self.leased_at is None:
            self.leased_at = since
            if self.started_at is None:
                self.started_at = since
            numbers.get_instance_secs.observe(since - self.started_at)
        if self._upload is not None and must_gather(self, self._upload):
            self._attempt = gathering = Gathering(self, self._upload)
            gathering.begin()
            return
        backend = self._parts.backends.take(instance, since)
        if backend is None:
            self._connect(instance)
        else:
            self._ask(backend)

    def gathered(self) -> None:
        """All of the body is there: ask."""
        self._attempt = None
        self.taking = False
        self.asked_at = now = self._parts.clock.seconds()
        try:
            backend = self._parts.backends.take(self.instance, now)
            if backend is None:
                self._connect(self.instance)
            else:
                self._ask(backend)
        except Exception as error:  # noqa: BLE001 - one request must not take others down
            self._failed(error)

    def _connect(self, instance: Instance) -> None:
        self._await(self._parts.backends.connect(instance), self._connected, self._not_connected)

    def _connected(self, backend: BackendConnection) -> None:
        self.asked_at = self._parts.clock.seconds()
        self._ask(backend)

    def _ask(self, backend: BackendConnection) -> None:
        self.touched = True
        self._attempt = attempt = Attempt(self, backend, self._upload)
        attempt.ask()
        if self.client.full:
            # It was before there was anybody to be told.
            attempt.client_full()
        if self.taking:
            self.client.pump()

    def _await(
        self, deferred: Deferred[Any], then: Callable[[Any], None], otherwise: Callable[[Failure], None]
    ) -> None:
        if self.started_at is None:
            self.started_at = self._parts.clock.seconds()
        self._waiting = deferred
        deferred.addCallbacks(self._awaited, self._awaited, callbackArgs=(then,), errbackArgs=(otherwise,))

    def _awaited(self, result: Any, proceed: Callable[[Any], None]) -> None:
        self._waiting = None
        if self._phase is _OVER:
            # The client went away. A failure is that of cancelling the wait; a slot was given back before.
            if isinstance(result, Lease):
                result.release(Outcome.CLIENT_ERROR)
            elif isinstance(result, BackendConnection):
                result.close()
            return
        try:
            proceed(result)
        except Exception as error:  # noqa: BLE001 - one request must not take others down
            self._failed(error)

    def _refused(self, failure: Failure) -> None:
        self._failed(failure.value)

    # The answer, as the attempt tells of it

    def begin_answer(self, answer: Answer) -> bytes:
        """
        The head of the answer is there, and from now on there can be no other answer.

        @return: header lines to be added to it.
        """
        numbers = self.numbers
        self.answered_at = now = self._parts.clock.seconds()
        self.answer = answer
        if not answer.minor:
            self._parts.backends.learn_old(self.instance)
        self.status = answer.status
        self._phase = _ANSWERING
        numbers.waiting_to_stream -= 1
        numbers.streaming += 1
        numbers.backend_response_secs.observe(now - self.asked_at)
        return self.cors_lines + own_debug_lines(self) if self.descriptor.debug else self.cors_lines

    def tell_to_continue(self) -> None:
        """Tell a client that asked to go on with its body; once."""
        if not self.continued:
            self.continued = True
            self.client.transport.write(CONTINUE)

    def may_keep(self) -> bool:
        """Whether the client's connection may be used for another request."""
        request = self.request
        if not request.headers.keep_alive or self._parts.draining or self.client.last:
            return False
        # A client that was not told to go on with its body may leave it out.
        return request.complete or not request.headers.expects_continue or self.continued

    def answered(self, attempt: Attempt) -> None:
        """The whole answer is on its way to the client."""
        now = self._parts.clock.seconds()
        attempt.give_back(now)
        if not self.request.complete:
            self.request.discard()
        self._over(Outcome.INSTANCE_BUSY if self.status == 503 else Outcome.SUCCESS, now)
        self.client.answered(keep=self.keep)

    def _over(self, outcome: Outcome, now: float) -> None:
        """Release the slot, count and write down what happened."""
        phase, self._phase = self._phase, _OVER
        self.taking = False
        self._attempt = None
        self._release(phase, outcome)
        if self._waiting is not None:
            self._waiting.cancel()
        if self.known:
            count_end(self.numbers, self, outcome, now)
        elif self.error is not None:
            self._parts.metrics.router.refused_total += 1
        if self._parts.request_log.wanted:
            self._parts.request_log.write(log_line(self, now, self._parts.wall()))

    def _release(self, phase: Phase, outcome: Outcome) -> None:
        lease, self._lease = self._lease, None
        if lease is None:
            return
        if phase is _ASKING:
            self.numbers.waiting_to_stream -= 1
        else:
            self.numbers.streaming -= 1
        lease.release(outcome)

    # Trouble

    def _not_connected(self, failure: Failure) -> None:
        """Nothing was sent, so another instance can be tried as long as there is time."""
        error, another = not_connected(failure)
        if another:
            self.numbers.retries += 1
            self._try_another(error)
        else:
            self._fail(error, Outcome.GENERIC_ERROR)

    def broken(self, error: WaiterError, *, stale: bool) -> None:
        """
        The instance broke the attempt off: send the request again if that can do no harm.

        @param stale: the instance is not to be blamed; a new connection will do.
        """
        self._attempt = None
        self.taking = False
        try:
            if self._phase is not _ASKING or not self._may_resend() or not self._spend():
                self._fail(error, Outcome.GENERIC_ERROR if stale else None)
            elif stale:
                self._rewind()
                self._connect(self.instance)
            else:
                self._try_another(error)
        except Exception as failure:  # noqa: BLE001 - one request must not take others down
            self._failed(failure)

    def ask_elsewhere(self, attempt: Attempt, *, reusable: bool) -> bool:
        """
        The instance says it is busy: ask another one if that can do no harm and one has a slot now.

        @param reusable: whether the attempt's connection can be used again.
        @return: whether that was done; otherwise the client gets the answer as it is.
        """
        reserver, instance = self.reserver, self.instance
        if self._busy_before or not self._may_resend():
            return False
        lease = reserver.try_reserve(frozenset({instance.id}))
        if lease is None:
            return False
        if not self._spend():
            lease.release(Outcome.GENERIC_ERROR)
            return False
        self._busy_before = True
        if reusable:
            attempt.give_back(self._parts.clock.seconds())
        else:
            attempt.drop()
        self._find_again(Outcome.INSTANCE_BUSY)
        try:
            self._leased(lease)
        except Exception as error:  # noqa: BLE001 - one request must not take others down
            self._failed(error)
        return True

    def _may_resend(self) -> bool:
        """Whether doing it twice is as good as doing it once, and the whole request can be had again."""
        upload = self._upload
        return (
            self.request.method in IDEMPOTENT
            and self._resends < _MOST_RESENDS
            and (upload is None or upload.replayable)
        )

    def _spend(self) -> bool:
        self._resends += 1
        return self._parts.retries.spend(self.descriptor.service.id, self.numbers)

    def _try_another(self, error: WaiterError) -> None:
        """
        The instance failed the request: send it to another one, if one can be had before the queue timeout.

        @param error: what to say if there is no time left.
        """
        now = self._parts.clock.seconds()
        left_secs = self.descriptor.queue_timeout_secs - (now - (now if self.started_at is None else self.started_at))
        if left_secs <= 0:
            self._fail(error)
            return
        # For a while nobody is sent to this one. It may have recovered before another one comes.
        self._find_again(Outcome.INSTANCE_ERROR)
        self._reserve(left_secs)

    def _find_again(self, outcome: Outcome) -> None:
        phase, self._phase = self._phase, _FINDING
        self._attempt = None
        self._rewind()
        self._release(phase, outcome)

    def _rewind(self) -> None:
        self.tries += 1
        self.taking = False
        if self._upload is not None:
            self._upload.rewind()

    def _failed(self, error: BaseException | None) -> None:
        """Something was raised."""
        if not isinstance(error, WaiterError):
            error = error or RuntimeError("a failure without an exception")
            self._log.failure("A request failed", Failure(error))
            error = internal_error(error)
        self._fail(error)

    def _fail(self, error: WaiterError, outcome: Outcome | None = None) -> None:
        """
        End with an error: tell the client, or, if it has a part of an answer, see to it that it cannot take it for the
        whole.
        """
        phase, attempt = self._phase, self._attempt
        if phase is _OVER:
            return
        self.error = error
        if attempt is not None:
            attempt.drop()
        outcome = outcome or outcome_of(error)
        if phase is _ANSWERING:
            self._over(outcome, self._parts.clock.seconds())
            self.client.abort()
            return
        self.status = error.status
        keep = self.may_keep() and not isinstance(error, RequestTimeout)
        answer = None
        try:
            answer = failure_answer(self, error, keep=keep)
        except Exception:  # noqa: BLE001 - whatever happens, the slot is given back
            self._log.failure("A failure could not be told")
        self.request.discard()
        self._over(outcome, self._parts.clock.seconds())
        if answer is None:
            self.client.abort()
        else:
            self.client.transport.write(answer)
            self.client.answered(keep=keep)

    # What happens to the client's connection

    def body_arrived(self) -> None:
        """Pass on what has arrived of the body."""
        self.touched = True
        if self._attempt is not None:
            self._attempt.body_arrived()

    def give_up(self, error: WaiterError) -> None:
        """End with that error."""
        self._fail(error)

    def client_sent(self, data: bytes) -> None:
        """There is a tunnel in this place when another protocol is spoken."""

    def client_ended(self) -> bool:
        """A client that sends no more is taken to be gone: one that was interrupted looks the same."""
        return False

    def client_lost(self, cleanly: bool) -> None:  # noqa: ARG002 - gone is gone
        """Give everything back at once."""
        if self._phase is _OVER:
            return
        if self._attempt is not None:
            self._attempt.drop()
        self._over(Outcome.CLIENT_ERROR, self._parts.clock.seconds())

    def client_full(self) -> None:
        """Let the instance wait with its answer."""
        if self._attempt is not None:
            self._attempt.client_full()

    def client_ready(self) -> None:
        """Go on with the answer."""
        if self._attempt is not None:
            self._attempt.client_ready()

    def waited(self, secs: float) -> None:
        """End what takes too long. Waiting in the queue and connecting have timeouts of their own."""
        if self._attempt is not None:
            error = self._attempt.waited(secs)
            if error is not None:
                self._fail(error)

    def router_stops(self, secs: float) -> None:
        """No new instances are started any more: wait for a slot only while one of those that are there may give it."""
        if self._phase is not _FINDING:
            return
        if secs >= self._parts.limits.drain_waiting_secs or (self.known and not self.reserver.has_instances):
            self._fail(shutting_down(self.descriptor.service.id if self.known else None))

    # Another protocol

    def open_tunnel(self, backend: BackendConnection, answer: Answer, data: bytes) -> None:
        """
        The instance has agreed to be a WebSocket. The slot stays in use until the tunnel's end.

        @param data: the first bytes from the instance, if any have come.
        """
        more = self.begin_answer(answer)
        head = b"%bconnection: Upgrade\r\nupgrade: websocket\r\n%bx-cid: %b\r\n\r\n" % (answer.lines, more, self.cid)
        self._attempt = None
        self.client.transport.write(head)
        descriptor = self.descriptor
        Tunnel(
            self.client,
            backend,
            self,
            idle_secs=descriptor.socket_timeout_secs,
            streaming_secs=descriptor.streaming_timeout_secs,
        ).open(data)

    def tunnel_closed(self, outcome: Outcome) -> None:
        """Nothing goes through the tunnel any more."""
        self._over(outcome, self._parts.clock.seconds())
