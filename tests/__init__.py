"""Tests of Waiter."""

import signal

from hypothesis import settings

# No test asserts how fast something is: on a busy machine every example may be slow.
settings.register_profile("waiter", deadline=None)
settings.load_profile("waiter")

# A shell starts what runs in its background with SIGINT ignored, and so would be all servers that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
