"""Publish and subscribe inside one process."""

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.logger import Logger

T = TypeVar("T")


class Topic(Generic[T]):
    """
    A list of callbacks that are told each published value, in the order they subscribed.

    Publishing is synchronous. A subscriber that raises is logged and does not keep the value from the others.
    """

    _log = Logger()

    def __init__(self) -> None:
        self._subscribers: list[Callable[[T], object]] = []

    def subscribe(self, subscriber: Callable[[T], object]) -> Callable[[], None]:
        """Call C{subscriber} with every later value. Calling what is returned ends the subscription."""
        self._subscribers.append(subscriber)

        def unsubscribe() -> None:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)

        return unsubscribe

    def publish(self, value: T) -> None:
        """Tell every subscriber C{value}."""
        for subscriber in tuple(self._subscribers):
            try:
                subscriber(value)
            except Exception:  # noqa: BLE001 - one part must not take the others down
                self._log.failure("A subscriber of {value_type} failed", value_type=type(value).__name__)
