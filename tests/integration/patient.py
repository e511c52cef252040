"""An instance for tests: C{/hold} begins an answer at once and ends it when a file appears; all else is answered at once."""

import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        if self.path == "/hold":
            self.send_header("content-length", str(len("begin") + 100_000 + len("end")))
            self.end_headers()
            self.wfile.write(b"begin")
            self.wfile.flush()
            while not Path(sys.argv[2]).exists():
                time.sleep(0.05)
            self.wfile.write(b"." * 100_000 + b"end")
        else:
            body = str(os.getpid()).encode()
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format, *args):
        """Write nothing."""


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
