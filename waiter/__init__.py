"""Waiter runs HTTP services that nobody had to deploy."""

from waiter.version import __version__

__all__ = ["__version__"]
