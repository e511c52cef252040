"""The files of tasks, as a Mesos agent serves them."""

import json
import os
import stat
from pathlib import Path

from klein import Klein


class AgentAPI:
    """
    The part of an agent's API that is about files.

    Who asks names them by the path that an agent of the real one would have.
    """

    app = Klein()

    def __init__(self, slaves, shown):
        """
        @param slaves: where they are.
        @param shown: under which path they are asked for.
        """
        self._slaves = Path(slaves).resolve()
        self._shown = shown.rstrip("/")

    @app.route("/files/browse")
    def browse(self, request):
        asked, path = self._path(request)
        if path is None or not path.is_dir():
            return self._missing(request)
        return self._json(
            request,
            [
                {
                    "gid": "root",
                    "mode": stat.filemode(each.stat().st_mode),
                    "mtime": each.stat().st_mtime,
                    "nlink": each.stat().st_nlink,
                    "path": f"{asked.rstrip('/')}/{each.name}",
                    "size": each.stat().st_size,
                    "uid": "root",
                }
                for each in sorted(path.iterdir())
            ],
        )

    @app.route("/files/read")
    def read(self, request):
        _, path = self._path(request)
        if path is None or not path.is_file():
            return self._missing(request)
        offset = int(request.args.get(b"offset", [b"-1"])[0])
        if offset < 0:
            return self._json(request, {"data": "", "offset": path.stat().st_size})
        length = int(request.args.get(b"length", [b"65536"])[0])
        with path.open("rb") as file:
            data = os.pread(file.fileno(), length, offset)
        request.setHeader("Content-Type", "application/json")
        text = json.dumps({"data": data.decode("utf-8", "surrogateescape"), "offset": offset}, ensure_ascii=False)
        return text.encode("utf-8", "surrogateescape")

    @app.route("/files/download")
    def download(self, request):
        _, path = self._path(request)
        if path is None or not path.is_file():
            return self._missing(request)
        request.setHeader("Content-Type", "application/octet-stream")
        return path.read_bytes()

    def _path(self, request):
        asked = request.args.get(b"path", [b""])[0].decode()
        if asked != self._shown and not asked.startswith(f"{self._shown}/"):
            return asked, None
        path = (self._slaves / asked[len(self._shown) :].lstrip("/")).resolve()
        return asked, path if path.is_relative_to(self._slaves) else None

    def _missing(self, request):
        request.setResponseCode(404)
        return b"Requested file or directory does not exist"

    def _json(self, request, content):
        request.setHeader("Content-Type", "application/json")
        return json.dumps(content).encode()
