"""What instances take of a machine; see L{waiter.model.resources}."""

from waiter.model.resources import Resources

__all__ = ["Resources"]
