"""Small programs for the tests to run as instances: they start in some 15 ms and need nothing but Python."""

import shlex
import sys

_PRELUDE = """
import os, signal, socket, sys, time
def listen(port=None):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", int(os.environ["PORT0"] if port is None else port)))
    s.listen(64)
    return s
def serve(s, status="200 OK", body="ok", stop=None):
    while stop is None or not stop():
        c, _ = s.accept()
        c.recv(65536)
        c.sendall(("HTTP/1.1 %s\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n%s" % (status, len(body), body)).encode())
        c.close()
"""


def program(code: str, interpreter: str = sys.executable) -> str:
    """The command line that runs Python code after the prelude above."""
    # -S and -E: no site-packages are looked at, which halves the start.
    return shlex.join([interpreter, "-S", "-E", "-c", _PRELUDE + code])


#: Answers everything with 200.
SERVER = program("serve(listen())")
#: Answers everything with 500.
BROKEN_SERVER = program('serve(listen(), status="500 No")')
#: Waits without listening.
SLEEPER = program("time.sleep(3600)")
