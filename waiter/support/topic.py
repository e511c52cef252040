"""Publish and subscribe inside one process."""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.logger import Logger

T = TypeVar("T")


class Topic(Generic[T]):
    """
    A list of callbacks that are told each published value, in the order they subscribed.

    Publishing is synchronous, except that what a subscriber publishes here is told after the present value, so that all
    hear all values in the same order. A subscriber that raises is logged and does not keep the value from the others.
    """

    _log = Logger()

    def __init__(self) -> None:
        # The keys tell apart subscriptions of one and the same callback.
        self._subscribers: dict[object, Callable[[T], object]] = {}
        self._unpublished: deque[T] = deque()
        self._publishing = False

    def subscribe(self, subscriber: Callable[[T], object]) -> Callable[[], None]:
        """
        Call C{subscriber} with every later value. Calling what is returned ends the subscription at once, even if a value is
        just being published.
        """
        key = object()
        self._subscribers[key] = subscriber

        def unsubscribe() -> None:
            self._subscribers.pop(key, None)

        return unsubscribe

    def publish(self, value: T) -> None:
        """Tell every subscriber C{value}."""
        self._unpublished.append(value)
        if self._publishing:
            return
        self._publishing = True
        try:
            while self._unpublished:
                self._tell_all(self._unpublished.popleft())
        finally:
            self._publishing = False

    def _tell_all(self, value: T) -> None:
        for key in tuple(self._subscribers):
            subscriber = self._subscribers.get(key)
            if subscriber is None:
                continue
            try:
                subscriber(value)
            except Exception:  # noqa: BLE001 - one part must not take the others down
                self._log.failure("A subscriber of {value_type} failed", value_type=type(value).__name__)
