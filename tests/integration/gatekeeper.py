"""An instance for tests: answers with its process id whoever knows its password, and the health check."""

import base64
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = base64.b64encode(f"{os.environ['WAITER_USERNAME']}:{os.environ['WAITER_PASSWORD']}".encode()).decode()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        allowed = self.path == "/status" or self.headers.get("authorization") == f"Basic {KEY}"
        self.send_response(200 if allowed else 401)
        self.end_headers()
        self.wfile.write(str(os.getpid()).encode())

    def log_message(self, format, *args):
        """Write nothing."""


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
