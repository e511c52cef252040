"""The one place that states Waiter's version."""

__version__ = "0.1.0"
