"""Requests to many services in turns, beside as many to one of them: what Waiter pays for having many, and nginx for as many."""

import contextlib
import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import clients
import harness
import idle_instances
import origins
import proxies
from cases import CONNECTIONS, NGINX, SETTLED_SECS, Effort, in_turns, loaded, progress
from contestants import WAITER, Contestant, Course, Place
from harness import BenchmarkError
from tables import Results, Sample

#: Instances that declare less than a CPU get a lower priority, and these are to have the one that others have.
SETTINGS = {"WAITER_SCHEDULER_CPU_OVERCOMMIT": "2000"}  #: Health and memory are looked at every few seconds.
REST_SECS = 10

#: An instance that takes hardly any memory, as there are to be a thousand of them.
INSTANCE = r"""
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int count, char **words) {
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";
    static char got[65536];
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct epoll_event event = {.events = EPOLLIN};
    int yes = 1, listening = socket(AF_INET, SOCK_STREAM, 0), polled = epoll_create1(0);
    address.sin_port = htons(atoi(words[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listening, (struct sockaddr *)&address, sizeof address) || listen(listening, 1024)) {
        perror("cannot listen");
        return 1;
    }
    event.data.fd = listening;
    epoll_ctl(polled, EPOLL_CTL_ADD, listening, &event);
    for (;;) {
        if (epoll_wait(polled, &event, 1, -1) < 1)
            continue;
        int from = event.data.fd;
        if (from == listening) {
            event.data.fd = accept(listening, NULL, NULL);
            epoll_ctl(polled, EPOLL_CTL_ADD, event.data.fd, &event);
            continue;
        }
        ssize_t size = read(from, got, sizeof got);
        /* Requests without a body, one at a time, that come whole. */
        if (size < 4 || memcmp(got + size - 4, "\r\n\r\n", 4) || write(from, answer, sizeof answer - 1) < 0)
            close(from);
    }
}
"""


def measure(course: Course, directory: Path, effort: Effort) -> Results:
    """
    Start the services, and ask the first one alone, or all in turns.

    @raise BenchmarkError: there is no C compiler, or no Waiter to start them.
    """
    if WAITER not in course.names:
        raise BenchmarkError("the services are started by Waiter, which does not take part")
    program = build(directory)
    services = [described(program, number, course) for number in range(effort.services)]
    chosen = {"1 service": services[:1], f"{effort.services:,} services": services}
    scripts = {name: script(directory / f"{len(some)}.lua", some) for name, some in chosen.items()}
    with contextlib.ExitStack() as stack:
        waiter, port = stack.enter_context(replace(course, settings=SETTINGS).waiter(directory))
        progress(f"  starting {len(services)} services")
        for begin in range(0, len(services), 100):
            idle_instances.ask_all(port, services[begin : begin + 100])
        idle_instances.wait_until_healthy(port, len(services))
        place = Place(port, {})
        present = [Contestant(WAITER, place, place, waiter, with_children=False)]
        if NGINX in course.names and NGINX in course.found:
            front = harness.free_port()
            http = nginx(front, ports_of_instances(port), directory / "access.log")
            command, log = harness.nginx(directory, NGINX, http, connections=proxies.CONNECTIONS)
            command[0] = course.found[NGINX]
            peer = stack.enter_context(harness.running(command, log=log, cpus=course.proxy_cpus))
            peer.wait_until_listening(front)
            present.append(Contestant(NGINX, Place(front, {}), Place(front, {}), peer))
        rows = {
            f"{each.name}, {name}": replace(each, name=f"{each.name}, {name}") for each in present for name in chosen
        }
        asked = {f"{each.name}, {name}": file for each in present for name, file in scripts.items()}

        time.sleep(SETTLED_SECS)
        rest = {each.program: share_at_rest(each, max(effort.secs, REST_SECS)) for each in present}

        def one(contestant: Contestant) -> Sample:
            sample = loaded(contestant, effort.secs, CONNECTIONS, script=asked[contestant.name])
            share = rest[contestant.program]
            return {
                **sample,
                "net_us": sample["cost_us"] - share / sample["per_sec"] * 1e6,
                "rest_percent": share * 100,
            }

        for contestant in rows.values():
            one(contestant)
        results = in_turns(list(rows.values()), effort.rounds, one)
        idle_instances.wait_until_healthy(port, len(services))
    names = list(chosen)
    for each in present:
        alone, together = (results[f"{each.name}, {name}"] for name in names)
        results[f"{each.name}, {names[1]}"] = [
            {**many, "times": many["cost_us"] / one["cost_us"]} for one, many in zip(alone, together, strict=True)
        ]
    return results


def share_at_rest(contestant: Contestant, secs: float) -> float:
    """How much of a core it takes when nobody asks for anything."""
    before = contestant.cpu_secs()
    time.sleep(secs)
    return (contestant.cpu_secs() - before) / secs


def build(directory: Path) -> Path:
    """
    The program that the instances run.

    @raise BenchmarkError: it cannot be compiled.
    """
    harness.need("cc")
    source, program = directory / "instance.c", directory / "instance"
    source.write_text(INSTANCE)
    command = ["cc", "-O2", "-o", str(program), str(source)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    if said.returncode:
        raise BenchmarkError(f"cc failed: {said.stderr}")
    return program


def described(program: Path, number: int, course: Course) -> dict[str, str]:
    """The headers of one service. Each may have a CPU, and hardly any memory."""
    return {
        "x-waiter-cmd": f"exec {' '.join(harness.on_cpus(course.other_cpus))} {program} $PORT0",
        "x-waiter-version": f"s{number}",
        "x-waiter-cpus": "1",
        "x-waiter-mem": "8",
        "x-waiter-health-check-url": "/",
        "x-waiter-concurrency-level": "100",
        "x-waiter-max-instances": "1",
        "x-waiter-min-instances": "1",
    }


def script(file: Path, services: Sequence[Mapping[str, str]]) -> Path:
    """What wrk asks for: each service in turn, whatever the connection."""
    requests = [clients.head("GET /", {**headers, **origins.BROWSER}).decode() for headers in services]
    lines = "".join(f"  {json.dumps(request)},\n" for request in requests)
    file.write_text(
        f"local requests = {{\n{lines}}}\nlocal at = 0\n"
        "function request()\n  at = at % #requests + 1\n  return requests[at]\nend\n"
    )
    return file


def ports_of_instances(port: int) -> dict[str, int]:
    """Where the instance of each service listens, by the version of the service."""
    ports = {}
    for service in json.loads(clients.ask(port, {"Accept": "application/json"}, "/apps")):
        answer = json.loads(clients.ask(port, {"Accept": "application/json"}, f"/apps/{service['service-id']}"))
        (instance,) = answer["instances"]["active-instances"]
        ports[answer["service-description"]["version"]] = instance["port"]
    return ports


def nginx(port: int, ports: Mapping[str, int], requests: Path) -> str:
    """The configuration of an nginx that knows the same services by the same header."""
    upstreams = "".join(
        f"upstream {version} {{ server 127.0.0.1:{at}; keepalive 32; keepalive_requests 1000000000; "
        "keepalive_timeout 600s; }\n"
        for version, at in ports.items()
    )
    return (
        f"{proxies.nginx_http(requests)}{upstreams}server {{ listen 127.0.0.1:{port};\n"
        f"location / {{ proxy_pass http://$http_x_waiter_version; {proxies.NGINX_PROXYING} }} }}\n"
    )
