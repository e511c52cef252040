"""Servers that nobody here wrote, started by headers and used through Waiter."""

import os
import shutil
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.integration.harness import RunningWaiter, python_path, service_headers

HERE = Path(__file__).parent.absolute()
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")

NGINX_CONFIGURATION = """
daemon off;
{user}
pid nginx.pid;
error_log stderr;
worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:PORT;
        location / {{ root {root}; }}
    }}
}}
"""


class RealServicesTests(TestCase):
    timeout = 180

    async def test_gunicorn(self):
        """A gunicorn application with two workers takes uploads and answers chunked and with a length."""
        waiter = await RunningWaiter(self).start()
        headers = service_headers(
            f"exec python3 -m gunicorn --chdir {HERE} --workers 2 --threads 2 --bind 127.0.0.1:$PORT0 wsgi_application:application",
            health_check_url="/length",
            concurrency_level=2,
            mem=256,
            env_PATH=python_path(),
        )
        body = bytes(range(256)) * 4096
        echoed = await waiter.request("/echo", method="POST", headers=headers, data=body)
        self.assertEqual((echoed.code, echoed.body == body), (200, True))
        with_length = await waiter.request("/length", headers=headers)
        self.assertEqual((with_length.length, with_length.body), (6, b"length"))
        chunked = await waiter.request("/chunked", headers=headers)
        self.assertEqual((chunked.length, chunked.body), (None, b"chunk " * 100))

    async def test_nginx(self):
        """nginx serves a file, answers HEAD with its length, and a range of it."""
        root = Path(self.mktemp()).absolute()
        root.mkdir()
        root.chmod(0o755)
        content = bytes(range(256)) * 40000
        (root / "file").write_bytes(content)
        # As root, nginx would serve files as another user, who may not look into the test's directory.
        user = "user root;" if os.geteuid() == 0 else ""
        (root / "nginx.conf").write_text(NGINX_CONFIGURATION.format(root=root, user=user))
        waiter = await RunningWaiter(self).start()
        headers = service_headers(
            f"sed s/PORT/$PORT0/ {root}/nginx.conf > nginx.conf && exec {NGINX} -p $PWD -c nginx.conf",
            health_check_url="/file",
            concurrency_level=10,
        )
        whole = await waiter.request("/file", headers=headers)
        self.assertEqual(whole.code, 200, whole.body[:2000])
        self.assertTrue(whole.body == content)
        self.assertTrue(whole.header("server").startswith("nginx"))
        head = await waiter.request("/file", method="HEAD", headers=headers)
        self.assertEqual((head.code, head.header("content-length"), head.body), (200, str(len(content)), b""))
        part = await waiter.request("/file", headers={**headers, "range": ["bytes=1000-1009"]})
        self.assertEqual((part.code, part.body), (206, content[1000:1010]))
        missing = await waiter.request("/missing", headers=headers)
        self.assertEqual(missing.code, 404)

    if NGINX is None:
        test_nginx.skip = "nginx is not installed"
