"""Runs the double alone; see L{tests.doubles.marathon}."""

import argparse
import ctypes
import os
import signal
import sys
import tempfile

from twisted.internet import reactor
from twisted.python import log

from tests.doubles.marathon.service import SHOWN, MarathonDouble

_SIGNAL_WHEN_THE_PARENT_DIES = 1


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.doubles.marathon", description=__doc__)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument(
        "--agent-port", type=int, default=0, help="where the agents serve files; any free one by default"
    )
    parser.add_argument("--directory", help="where everything is kept; a new one by default")
    parser.add_argument("--hosts", default="127.0.0.1", help="the agents: addresses of this machine, with commas")
    parser.add_argument("--speed", type=float, default=1.0, help="how many times faster than real it checks and waits")
    parser.add_argument("--deployment-secs", type=float, default=0.05, help="how long a deployment takes at least")
    parser.add_argument("--launch-secs", type=float, default=0.02, help="how long an offer lets wait")
    given = parser.parse_args()
    parent = os.getppid()
    # Else the tasks would go on for ever if the tests were killed.
    ctypes.CDLL(None).prctl(_SIGNAL_WHEN_THE_PARENT_DIES, signal.SIGTERM)
    if os.getppid() != parent:
        return
    log.startLogging(sys.stdout, setStdout=False)
    double = MarathonDouble(
        reactor,
        given.directory or tempfile.mkdtemp(prefix="marathon-double-"),
        port=given.port,
        agent_port=given.agent_port,
        hosts=given.hosts.split(","),
        speed=given.speed,
        deployment_secs=given.deployment_secs,
        launch_secs=given.launch_secs,
    )

    def start():
        double.startService()
        sys.stdout.write(f"ready {double.url} agents on {double.agent_port} at {SHOWN}\n")
        sys.stdout.flush()

    reactor.callWhenRunning(start)
    reactor.addSystemEventTrigger("before", "shutdown", double.stopService)
    reactor.run()


if __name__ == "__main__":
    main()
