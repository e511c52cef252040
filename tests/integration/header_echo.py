"""
An HTTP server for tests that answers with the value of the request header that the path names.

With C{--certificate FILE} it speaks HTTPS.
"""

import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        value = self.headers.get(self.path[1:], "").encode()
        self.send_response(200)
        self.send_header("content-length", str(len(value)))
        self.end_headers()
        self.wfile.write(value)


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Echo)
if "--certificate" in sys.argv:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[sys.argv.index("--certificate") + 1])
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
