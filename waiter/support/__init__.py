"""Helpers that know nothing of Waiter."""
