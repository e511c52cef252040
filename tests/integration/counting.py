"""A service that writes as many numbered lines as the path of a request says."""

import http.server
import os
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    written = 0

    def do_GET(self):
        for _ in range(int(self.path[1:] or 0)):
            sys.stdout.write(f"line {Handler.written} {'x' * 80}\n")
            Handler.written += 1
        sys.stdout.flush()
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Write nothing else."""


if __name__ == "__main__":
    http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT0"])), Handler).serve_forever()
