"""
An application for tests, on h11: tells what it was sent behind a body, and sends behind its own what it is asked to. As
JSON: the trailers, the header C{TE}, the body's length.
"""

import json
import socketserver
import sys

import h11


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        connection = h11.Connection(h11.SERVER)
        while self.answer(connection):
            connection.start_next_cycle()

    def answer(self, connection):
        """Answer one request; answers whether there may be more."""
        request = self.next(connection)
        if not isinstance(request, h11.Request):
            return False
        size = 0
        while isinstance(event := self.next(connection), h11.Data):
            size += len(event.data)
        told = {
            "trailers": [[name.decode(), value.decode("latin-1")] for name, value in event.headers],
            "te": [value.decode() for name, value in request.headers if name == b"te"],
            "size": size,
        }
        wanted = [
            tuple(value.split(b": ", 1)) for name, value in request.headers if name == b"please" and b": " in value
        ]
        self.send(connection, h11.Response(status_code=200, headers=[("Transfer-Encoding", "chunked")]))
        self.send(connection, h11.Data(data=json.dumps(told).encode()))
        # h11 would refuse some of them, as is right.
        lines = b"".join(b"%b: %b\r\n" % field for field in wanted)
        self.send(connection, h11.EndOfMessage(), instead=b"0\r\n" + lines + b"\r\n")
        return connection.our_state is h11.DONE and connection.their_state is h11.DONE

    def next(self, connection):
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(self.request.recv(65536))
        return event

    def send(self, connection, event, instead=None):
        data = connection.send(event)
        self.request.sendall(data if instead is None else instead)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
