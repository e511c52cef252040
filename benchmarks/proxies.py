"""
How the proxies are configured, so that all do the same work: one core, connections to the origin that are kept and shared, the
headers that tell an origin who asks and how, a log with a line for each request, bodies passed on as they come, and no limit
that a benchmark would meet.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import harness

#: More connections than any case keeps to an origin.
POOL = 1024
#: More connections than any case has.
CONNECTIONS = 16384


@dataclass(frozen=True)
class Route:
    """A port to listen on, and that of the origin behind it."""

    port: int
    origin: int


@dataclass(frozen=True)
class Command:
    """
    How a proxy is started.

    @ivar log: what it prints.
    @ivar requests: its log of requests.
    """

    words: Sequence[object]
    log: Path
    requests: Path
    environment: Mapping[str, str] = field(default_factory=dict)


def nginx(home: Path, routes: Sequence[Route]) -> Command:
    """One worker."""
    requests = home / "access.log"
    servers = "".join(
        f"upstream origin{route.origin} {{ server 127.0.0.1:{route.origin}; keepalive {POOL};\n"
        "keepalive_requests 1000000000; keepalive_timeout 600s; }\n"
        f"server {{ listen 127.0.0.1:{route.port} backlog=4096;\n"
        f"location / {{ proxy_pass http://origin{route.origin}; {NGINX_PROXYING} }} }}\n"
        for route in routes
    )
    words, log = harness.nginx(home, "nginx", nginx_http(requests) + servers, connections=CONNECTIONS)
    return Command(words, log, requests)


def nginx_http(requests: Path) -> str:
    """What belongs into C{http}. The log is written in batches, as Waiter does."""
    return (
        f"access_log {requests} combined buffer=64k flush=1s;\nclient_max_body_size 0;\n"
        "map $http_upgrade $kept { '' ''; default upgrade; }\n"
    )


NGINX_PROXYING = (
    "proxy_http_version 1.1; proxy_set_header Connection $kept; proxy_set_header Upgrade $http_upgrade;\n"
    "proxy_set_header Host $http_host; proxy_set_header Via '1.1 nginx';\n"
    "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;\n"
    "proxy_request_buffering off; proxy_max_temp_file_size 0; proxy_read_timeout 600s; proxy_send_timeout 600s;"
)


def haproxy(home: Path, routes: Sequence[Route]) -> Command:
    """One thread. It has no log in batches but to a syslog."""
    requests = home / "output.log"
    sections = "".join(
        f"frontend f{route.port}\n bind 127.0.0.1:{route.port} backlog 4096\n default_backend b{route.origin}\n"
        " http-request set-header X-Forwarded-Proto http\n http-request add-header Via '1.1 haproxy'\n"
        f"backend b{route.origin}\n http-reuse always\n"
        f" server origin 127.0.0.1:{route.origin} pool-max-conn {POOL} pool-purge-delay 600s\n"
        for route in routes
    )
    configuration = home / "haproxy.cfg"
    configuration.write_text(
        f"global\n nbthread 1\n no strict-limits\n maxconn {CONNECTIONS}\n log stdout format raw local0 info\n"
        "defaults\n mode http\n log global\n option httplog\n option forwardfor\n"
        f" maxconn {CONNECTIONS}\n timeout connect 5s\n timeout client 600s\n timeout server 600s\n timeout tunnel 600s\n"
        " timeout http-keep-alive 600s\n" + sections
    )
    return Command(["haproxy", "-db", "-f", configuration], requests, requests)


def envoy(home: Path, routes: Sequence[Route]) -> Command:
    """One worker beside its main thread."""
    requests = home / "access.log"
    http = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    log = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    listeners = "".join(
        f"  - address: {{socket_address: {{address: 127.0.0.1, port_value: {route.port}}}}}\n"
        "    tcp_backlog_size: 4096\n    filter_chains:\n    - filters:\n"
        "      - name: envoy.filters.network.http_connection_manager\n        typed_config:\n"
        f'          "@type": {http}\n          stat_prefix: f{route.port}\n          use_remote_address: true\n'
        "          via: 1.1 envoy\n          stream_idle_timeout: 0s\n          upgrade_configs: [{upgrade_type: websocket}]\n"
        f'          access_log: [{{name: file, typed_config: {{"@type": {log}, path: {requests}}}}}]\n'
        f'          http_filters: [{{name: router, typed_config: {{"@type": {router}}}}}]\n'
        "          route_config: {virtual_hosts: [{name: all, domains: ['*'], routes: [{match: {prefix: /}, "
        f"route: {{cluster: b{route.origin}, timeout: 0s}}}}]}}]}}\n"
        for route in routes
    )
    clusters = "".join(
        f"  - name: b{route.origin}\n    type: STATIC\n    connect_timeout: 5s\n    circuit_breakers: {{thresholds: [{{"
        f"max_connections: {CONNECTIONS}, max_pending_requests: {CONNECTIONS}, max_requests: {CONNECTIONS}}}]}}\n"
        f"    load_assignment: {{cluster_name: b{route.origin}, endpoints: [{{lb_endpoints: [{{endpoint: {{address: "
        f"{{socket_address: {{address: 127.0.0.1, port_value: {route.origin}}}}}}}}}]}}]}}\n"
        for route in routes
    )
    configuration = home / "envoy.yaml"
    configuration.write_text(f"static_resources:\n  listeners:\n{listeners}  clusters:\n{clusters}")
    words = ["envoy", "-c", configuration, "--concurrency", 1, "--use-dynamic-base-id", "--log-level", "error"]
    return Command([*words, "--file-flush-interval-msec", 1000], home / "output.log", requests)


def traefik(home: Path, routes: Sequence[Route]) -> Command:
    """Go on one core. Its log is written for each request, which is its default."""
    requests = home / "access.log"
    entries = "".join(
        f"  e{route.port}:\n    address: 127.0.0.1:{route.port}\n"
        "    transport: {respondingTimeouts: {readTimeout: 0s, idleTimeout: 600s}}\n"
        for route in routes
    )
    static, dynamic = home / "traefik.yml", home / "routes.yml"
    static.write_text(
        "global: {checkNewVersion: false, sendAnonymousUsage: false}\nlog: {level: ERROR}\n"
        f"accessLog: {{filePath: {requests}}}\nproviders: {{file: {{filename: {dynamic}, watch: false}}}}\n"
        f"serversTransport: {{maxIdleConnsPerHost: {POOL}}}\nentryPoints:\n{entries}"
    )
    routers = "".join(
        f"    r{route.port}: {{entryPoints: [e{route.port}], rule: 'PathPrefix(`/`)', service: s{route.port}}}\n"
        for route in routes
    )
    services = "".join(
        f"    s{route.port}: {{loadBalancer: {{servers: [{{url: 'http://127.0.0.1:{route.origin}'}}]}}}}\n"
        for route in routes
    )
    dynamic.write_text(f"http:\n  routers:\n{routers}  services:\n{services}")
    return Command(
        ["traefik", f"--configFile={static}"], home / "output.log", requests, {"GOMAXPROCS": "1", "HOME": str(home)}
    )


def caddy(home: Path, routes: Sequence[Route]) -> Command:
    """Go on one core. Its log is JSON, written for each request, which is its default."""
    requests = home / "access.log"
    sites = "".join(
        f"http://:{route.port} {{\n bind 127.0.0.1\n log {{\n output file {requests} {{\n roll_disabled\n }}\n }}\n"
        f" reverse_proxy 127.0.0.1:{route.origin} {{\n transport http {{\n keepalive 600s\n"
        f" keepalive_idle_conns {POOL}\n keepalive_idle_conns_per_host {POOL}\n compression off\n }}\n }}\n}}\n"
        for route in routes
    )
    configuration = home / "Caddyfile"
    configuration.write_text(
        "{\n admin off\n auto_https off\n persist_config off\n log default {\n level ERROR\n output stderr\n }\n"
        " servers {\n timeouts {\n idle 600s\n }\n }\n}\n" + sites
    )
    environment = {"GOMAXPROCS": "1", "HOME": str(home), "XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    return Command(["caddy", "run", "--config", configuration], home / "output.log", requests, environment)


PEERS: Mapping[str, Callable[[Path, Sequence[Route]], Command]] = {
    "nginx": nginx,
    "haproxy": haproxy,
    "envoy": envoy,
    "traefik": traefik,
    "caddy": caddy,
}
_VERSION = {"nginx": "-v", "haproxy": "-v", "envoy": "--version", "traefik": "version", "caddy": "version"}


def find(peers: Path | None) -> dict[str, str]:
    """
    Which of them are installed, and where.

    @param peers: a directory to look at before those of C{PATH}.
    """
    path = os.pathsep.join(
        [*([str(peers.absolute())] if peers else []), os.environ.get("PATH", os.defpath), "/usr/sbin"]
    )
    found = {name: shutil.which(name, path=path) for name in PEERS}
    return {name: place for name, place in found.items() if place is not None}


def version(name: str, executable: str) -> str:
    """What a proxy says of itself, as a number."""
    said = subprocess.run([executable, _VERSION[name]], capture_output=True, text=True, check=False)
    words = (said.stdout + said.stderr).replace("/", " ").split()
    return next((word.lstrip("v") for word in words if word.lstrip("v")[:1].isdigit() and "." in word), "?")
