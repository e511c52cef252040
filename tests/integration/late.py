"""
An instance for tests that listens as soon as a file is there, and writes down what it is asked.

Only Waiter's own checks find it healthy.
"""

import os
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        kind = self.headers.get("x-waiter-request-type", "other" if self.path == "/health" else "request")
        if kind != "other":
            with Path(sys.argv[3]).open("a") as record:
                record.write(f"{kind}\n")
        self.send_response(503 if kind == "other" else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format, *args):
        """Write nothing."""


while not Path(sys.argv[2]).exists():
    time.sleep(0.01)
HTTPServer((os.environ.get("HOST", "127.0.0.1"), int(sys.argv[1])), Handler).serve_forever()
