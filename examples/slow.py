"""A service that takes a second for each answer: python3 slow.py PORT."""

import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Slow(BaseHTTPRequestHandler):
    """Answers with the process that did it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Think, then answer; be quick when only asked for one's health."""
        if self.path != "/health":
            time.sleep(1)
        body = f"process {os.getpid()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Slow).serve_forever()
