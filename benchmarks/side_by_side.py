"""
Waiter beside nginx, HAProxy, Envoy, Traefik and Caddy: the same work in the same run, in turns, one core for each proxy.

What is printed is Markdown, as it stands in docs/performance.md.
"""

import argparse
import importlib.metadata
import resource
from dataclasses import replace
from pathlib import Path

import cases
import goals
import harness
import many_services
import proxies
import tables
from cases import CONNECTIONS, COST, KERNEL, NGINX, P50, P99, PER_SEC, RATE, RSS, Case, Effort
from contestants import DIRECT, WAITER, Course, divide_cpus
from harness import BenchmarkError
from tables import Column, Results

REQUESTS = (COST, KERNEL, RATE, P50, P99, RSS)
BODY = (
    Column("mb_per_sec", "MB/s", spread=True, compared=NGINX),
    Column("cost_secs", "CPU s per GiB", 2),
    Column("growth_mib", "peak RSS growth MiB", 1, spread=True),
)
CASES = {
    **{
        f"get-{connections}": Case(
            f"Small GET, {connections} connection{'s' if connections > 1 else ''}",
            "A browser's headers, 128 bytes of answer, connections kept.",
            REQUESTS,
            cases.gets(connections),
        )
        for connections in (1, CONNECTIONS, 256)
    },
    "new-connections": Case(
        "A new connection for each request",
        f"The same with `Connection: close`, {CONNECTIONS} at a time.",
        REQUESTS,
        cases.gets(CONNECTIONS, more={"Connection": "close"}),
    ),
    "100kB": Case(
        "100 kB of answer",
        f"A file, {CONNECTIONS} connections, kept.",
        REQUESTS,
        cases.gets(CONNECTIONS, path="/files/100kB"),
    ),
    "download": Case("1 GiB down", "One at a time.", BODY, cases.bodies(send=False)),
    "upload": Case("1 GiB up", "One at a time, with its length.", BODY, cases.bodies(send=True)),
    "websocket": Case(
        "WebSocket echo",
        f"{CONNECTIONS} connections with a message of 100 bytes under way on each. Client and origin are Python and set the "
        "pace.",
        (
            Column("cost_us", "CPU µs per message", 1, spread=True, compared=NGINX),
            Column("per_sec", "messages/s"),
            P50,
            P99,
        ),
        cases.websockets,
    ),
    "idle": Case(
        "Idle clients",
        f"As many as {{idle:,}}, each of which had one request answered; {CONNECTIONS} others send small GETs, before and "
        "meanwhile. One proxy after the other.",
        (
            Column("kib", "KiB per idle client", 1),
            Column("idle_percent", "CPU % while all rest", 1),
            Column("alone_us", "CPU µs per request before", 1),
            Column("cost_us", "meanwhile", 1, spread=True),
            Column("alone_p99_ms", "p99 ms before", 2),
            Column("p99_ms", "meanwhile", 2),
        ),
        cases.idle,
    ),
    "constant-rate": Case(
        f"{PER_SEC:,} requests/s",
        f"Sent when they are due on {CONNECTIONS} connections; times count from when a request was due. Added is what is above "
        f"`{DIRECT}` of the same round.",
        (
            Column("p50_ms", "p50 ms", 2),
            Column("p99_ms", "p99 ms", 2),
            Column("added_p50_ms", "added p50 ms", 2, spread=True),
            Column("added_p99_ms", "added p99 ms", 2, spread=True),
            Column("cost_us", "CPU µs per request", 1),
        ),
        cases.constant_rate,
    ),
    "services": Case(
        "Many services",
        f"{{services:,}} services with an instance each, asked in turns on {CONNECTIONS} connections, beside as many requests to "
        "the first alone. nginx forwards to the same instances, by the same header.",
        (
            replace(COST, compared=None),
            Column("times", "x 1 service", 2, spread=True),
            Column("rest_percent", "CPU % at rest", 1),
            Column("net_us", "CPU µs less that at rest", 1),
            KERNEL,
            RATE,
            P50,
            P99,
        ),
        many_services.measure,
    ),
}


def run(arguments: argparse.Namespace) -> None:
    """Measure, and print a table for each case and the goals."""
    harness.need("nginx", "wrk", "taskset")
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    names = chosen(arguments.proxies, [WAITER, *proxies.PEERS])
    selected = chosen(arguments.cases, list(CASES))
    found = proxies.find(arguments.peers)
    proxy_cpus, other_cpus = divide_cpus()
    sizes = {"100kB": 100_000}
    course = Course(names, found, sizes, proxy_cpus, other_cpus, reactor=arguments.reactor)
    effort = Effort(
        rounds=arguments.rounds,
        secs=arguments.secs,
        body_bytes=arguments.body_mib << 20,
        idle=arguments.idle,
        services=arguments.services,
    )
    lines: list[str] = []
    results: dict[str, Results] = {}
    failed = []
    begin = preface(course, effort)
    for name in selected:
        case = CASES[name]
        cases.progress(name)
        text = case.text.format(idle=effort.idle, services=effort.services)
        try:
            with harness.workplace() as directory:
                results[name] = case.measure(course, directory, effort)
            shown = tables.table(results[name], case.columns)
        except BenchmarkError as error:
            failed.append(name)
            cases.progress(f"{name} failed: {error}")
            shown = f"Not measured: {str(error).splitlines()[0]}\n"
        lines.append(f"### {case.title}\n\n{text}\n\n{shown}")
    verdicts = f"### Goals\n\n{goals.verdicts(results)}"
    document = "\n".join([begin, verdicts, *lines])
    print(document)
    if arguments.into is not None:
        put_into(arguments.into, document)
    if failed:
        raise BenchmarkError(f"not measured: {', '.join(failed)}")


def preface(course: Course, effort: Effort) -> str:
    """Where and how this was measured."""
    versions = []
    for name in course.names:
        if name == WAITER:
            libraries = (f"{library} {importlib.metadata.version(library)}" for library in ("uvloop", "httptools"))
            versions.append(f"{WAITER} ({', '.join(libraries)}{', ' + course.reactor if course.reactor else ''})")
        elif name in course.found:
            versions.append(f"{name} {proxies.version(name, course.found[name])}")
        else:
            versions.append(f"{name} not installed")
    cores = "all share one CPU" if course.proxy_cpus is None else "one CPU for the proxies, the others for all else"
    return (
        f"{harness.machine()} at the beginning; {cores}. {', '.join(versions)}. {effort.rounds} rounds of "
        f"{effort.secs:g} s; figures are medians, with the lowest and highest round in parentheses.\n"
    )


def chosen(words: str | None, possible: list[str]) -> list[str]:
    """
    What was selected on the command line.

    @raise BenchmarkError: there is no such thing.
    """
    selected = possible if words is None else words.split(",")
    for word in selected:
        if word not in possible:
            raise BenchmarkError(f"there is no {word}, but {', '.join(possible)}")
    return selected


def put_into(page: Path, document: str) -> None:
    """
    Replace what stands between the two marks of a page.

    @raise BenchmarkError: they are not there.
    """
    begin, end = "<!-- figures -->\n", "<!-- /figures -->\n"
    before, found, rest = page.read_text().partition(begin)
    _, also, after = rest.partition(end)
    if not found or not also:
        raise BenchmarkError(f"{page} has no {begin.strip()} and {end.strip()}")
    page.write_text(f"{before}{begin}\n{document}\n{end}{after}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Waiter beside other proxies, on the same work.")
    parser.add_argument("--cases", help=f"some of {','.join(CASES)} (all)")
    parser.add_argument("--proxies", help=f"some of {','.join((WAITER, *proxies.PEERS))} (all that are installed)")
    parser.add_argument("--peers", type=Path, help="a directory where their executables are, beside those in PATH")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (%(default)s)")
    parser.add_argument("--secs", type=int, default=3, help="how long each time (%(default)s)")
    parser.add_argument("--body-mib", type=int, default=1024, help="size of the long bodies (%(default)s)")
    parser.add_argument("--idle", type=int, default=10000, help="how many clients are idle (%(default)s)")
    parser.add_argument("--services", type=int, default=1000, help="how many services are many (%(default)s)")
    parser.add_argument("--reactor", help="what twistd's --reactor is to be (Waiter's own choice)")
    parser.add_argument("--into", type=Path, help="a page whose figures are to be replaced by what is printed")
    harness.main(run, parser)
