"""Tests of Waiter."""

import signal

from hypothesis import HealthCheck, settings

# No test asserts how fast something is: on a busy machine every example may be slow, and so may be to make it up.
settings.register_profile("waiter", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("waiter")

# A shell starts what runs in its background with SIGINT ignored, and so would be all servers that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
