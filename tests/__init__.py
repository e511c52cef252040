"""Tests of Waiter."""

from hypothesis import settings

# No test asserts how fast something is: on a busy machine every example may be slow.
settings.register_profile("waiter", deadline=None)
settings.load_profile("waiter")
