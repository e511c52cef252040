"""Instances for test_torture.py, by name; each answers everything with the pid of its launcher, which leads its session."""

import os
import signal
import socket
import sys
import time

LAUNCHER = str(os.getsid(0))


def listen():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(os.environ["PORT0"])))
    listener.listen(64)
    return listener


def serve(listener, answered=lambda: None):
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(LAUNCHER)}\r\nConnection: close\r\n\r\n"
    while True:
        connection, _ = listener.accept()
        try:
            connection.recv(65536)
            time.sleep(0.01)
            connection.sendall((head + LAUNCHER).encode())
        except OSError:
            # The router was killed meanwhile.
            pass
        connection.close()
        answered()


def plain():
    serve(listen())


def forking():
    listener = listen()
    for _ in range(3):
        if os.fork() == 0:
            break
    serve(listener)


def daemon():
    listener = listen()
    if os.fork() == 0:
        os.setsid()
        listener.close()
        time.sleep(3600)
    serve(listener)


def deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    serve(listen())


def slow():
    time.sleep(0.4)
    serve(listen())


def mortal():
    """Breaks soon after its first answer, so that however slow the machine is it has been healthy; leaves a child behind."""
    listener = listen()
    if os.fork() == 0:
        time.sleep(3600)
    signal.signal(signal.SIGALRM, lambda *_: os._exit(3))
    serve(listener, lambda: any(signal.getitimer(signal.ITIMER_REAL)) or signal.setitimer(signal.ITIMER_REAL, 0.3))


globals()[sys.argv[1]]()
