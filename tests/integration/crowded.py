"""An instance for tests: C{/hold/SECS} answers after so long, C{/most} says how many requests it ever had at a time."""

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    lock = threading.Lock()
    now = most = 0

    def do_GET(self):
        body = b""
        if self.path.startswith("/hold/"):
            self._hold(float(self.path.removeprefix("/hold/")))
        elif self.path == "/most":
            body = str(Handler.most).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _hold(self, secs):
        with Handler.lock:
            Handler.now += 1
            Handler.most = max(Handler.most, Handler.now)
        time.sleep(secs)
        with Handler.lock:
            Handler.now -= 1

    def log_message(self, format, *args):
        """Write nothing."""


class Server(ThreadingHTTPServer):
    request_queue_size = 128


# On whichever address of this machine it is looked for.
Server(("", int(sys.argv[1])), Handler).serve_forever()
