"""
A server that does wrong what it is told to do wrong; quick to start.

python3 misbehaving.py answer STATUS [FILE]    answers with STATUS, and with 200 once FILE exists
python3 misbehaving.py abrupt                  ends connections so that the kernel does not keep the port for a minute
python3 misbehaving.py smtp|silent|closing     what it says to whoever connects
python3 misbehaving.py listen ADDRESS PORT     serves there instead
python3 misbehaving.py crash                   serves; GET /exit ends it with code 3, GET /segv by a signal
"""

import os
import signal
import socket
import struct
import sys
from pathlib import Path

HOST, PORT = "127.0.0.1", int(os.environ["PORT0"])


def listener(address=HOST, port=PORT):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, backlog=100)


def answer(connection, status, body):
    connection.sendall(
        b"HTTP/1.1 %d X\r\ncontent-length: %d\r\nconnection: close\r\nlocation: /elsewhere\r\n\r\n%s"
        % (status, len(body), body)
    )


def serve(server, respond):
    while True:
        connection, _ = server.accept()
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                received = connection.recv(65536)
                if not received:
                    break
                head += received
            if head:
                respond(connection, head.split()[1].decode())


def main(mode, *arguments):
    if mode == "answer":
        status, ready = int(arguments[0]), Path(*arguments[1:])

        def respond(connection, _):
            healthy = len(arguments) > 1 and ready.exists()
            answer(connection, 200 if healthy else status, b"fine" if healthy else b"<h1>This is not it</h1>")

        serve(listener(), respond)
    elif mode == "abrupt":

        def reset(connection, _):
            answer(connection, 200, b"fine")
            # When the other side has ended it: what was sent is not to be lost.
            connection.recv(65536)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        serve(listener(), reset)
    elif mode == "smtp":
        serve(listener(), lambda connection, _: connection.sendall(b"220 mail.example ESMTP\r\n"))
    elif mode == "silent":
        server, kept = listener(), []
        while True:
            kept.append(server.accept())
    elif mode == "closing":
        server = listener()
        while True:
            server.accept()[0].close()
    elif mode == "listen":
        serve(listener(arguments[0], int(arguments[1])), lambda connection, _: answer(connection, 200, b"fine"))
    elif mode == "crash":

        def respond(connection, path):
            if path == "/exit":
                os.write(2, b"about to end\n")
                os._exit(3)
            if path == "/segv":
                os.kill(os.getpid(), signal.SIGSEGV)
            answer(connection, 200, str(os.getpid()).encode())

        serve(listener(), respond)


main(*sys.argv[1:])
