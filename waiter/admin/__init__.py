"""Waiter's own HTTP API, by area, on Klein."""
