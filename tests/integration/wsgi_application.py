"""An application for gunicorn: echoes a body, answers with a length, answers chunked."""


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/echo":
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(body)))])
        return [body]
    if path == "/chunked":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (b"chunk " for _ in range(100))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
    return [b"length"]
