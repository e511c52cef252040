"""A service that takes memory: hungry.py PORT MIB takes so much before it listens, and as much again when asked for /eat."""

import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

taken = []


def take(mib):
    taken.append(os.urandom(1024) * 1024 * mib)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/eat":
            take(150)
        body = str(os.getpid()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


take(int(sys.argv[2]))
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
