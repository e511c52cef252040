"""What the proxies are measured with: each case is a kind of load, and the figures that are told of it."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import clients
import crowd
import harness
from contestants import Contestant, Course, Place
from harness import BenchmarkError
from tables import Column, Results, Sample

MIB = 1 << 20
PER_SEC = 1000
CONNECTIONS = 32
SETTLED_SECS = 5
NGINX = "nginx"


@dataclass(frozen=True)
class Effort:
    """
    How much is measured.

    @ivar rounds: in turns.
    @ivar secs: of each contestant in each round.
    @ivar body_bytes: of the long bodies.
    @ivar idle: how many clients.
    @ivar services: how many, where there are many.
    """

    rounds: int
    secs: float
    body_bytes: int
    idle: int
    services: int


Measure = Callable[[Course, Path, Effort], Results]


@dataclass(frozen=True)
class Case:
    """
    One of them.

    @ivar text: what is done, in a sentence.
    """

    title: str
    text: str
    columns: Sequence[Column]
    measure: Measure


COST = Column("cost_us", "CPU µs per request", 1, spread=True, compared=NGINX)
KERNEL = Column("kernel_us", "of it kernel", 1)
RATE = Column("per_sec", "requests/s")
P50 = Column("p50_ms", "p50 ms", 2)
P99 = Column("p99_ms", "p99 ms", 2)
RSS = Column("rss_mib", "RSS MiB")


def progress(text: str) -> None:
    """For who waits."""
    print(text, file=sys.stderr, flush=True)


def in_turns(
    contestants: Sequence[Contestant], rounds: int, measure: Callable[[Contestant], Sample]
) -> dict[str, list[Sample]]:
    """Measure each in each round, so that what else the machine does hits all of them."""
    results: dict[str, list[Sample]] = {contestant.name: [] for contestant in contestants}
    for number in range(rounds):
        for contestant in contestants:
            results[contestant.name].append(measure(contestant))
        progress(f"  round {number + 1} of {rounds}")
    return results


def loaded(
    contestant: Contestant,
    secs: float,
    connections: int,
    path: str = "/",
    more: Mapping[str, str] | None = None,
    script: Path | None = None,
) -> Sample:
    """
    What wrk and the clock of the processor say.

    @param more: headers beside those that the contestant needs.
    @param script: what is asked for instead of all that.
    @raise BenchmarkError: a request failed.
    """
    before, kernel_before = contestant.cpu_secs(), contestant.kernel_secs()
    port, headers = contestant.nginx.port, {**contestant.nginx.headers, **(more or {})}
    seen = harness.load(port, connections=connections, secs=secs, headers=headers, path=path, script=script)
    used, kernel = contestant.cpu_secs() - before, contestant.kernel_secs() - kernel_before
    if seen.failures or not seen.requests:
        raise BenchmarkError(f"{contestant.name}: {seen.failures} of {seen.requests} requests failed")
    sample = {"per_sec": seen.requests_per_sec, "p50_ms": seen.p50_ms, "p99_ms": seen.p99_ms}
    cost, kernel_cost = used / seen.requests * 1e6, kernel / seen.requests * 1e6
    return {**sample, **own(contestant, cost_us=cost, kernel_us=kernel_cost, rss_mib=contestant.rss_bytes() / MIB)}


def own(contestant: Contestant, **figures: float) -> Sample:
    """Figures that the origins themselves do not have."""
    return figures if contestant.program is not None else {}


def gets(connections: int, path: str = "/", more: Mapping[str, str] | None = None) -> Measure:
    """Requests by wrk."""

    def measure(course: Course, directory: Path, effort: Effort) -> Results:
        with course.contestants(directory) as contestants:
            for contestant in contestants:
                loaded(contestant, min(1, effort.secs), connections, path, more)
            return in_turns(contestants, effort.rounds, lambda each: loaded(each, effort.secs, connections, path, more))

    return measure


def bodies(send: bool) -> Measure:
    """Long bodies, one at a time."""

    def measure(course: Course, directory: Path, effort: Effort) -> Results:
        course = replace(course, sizes={"long": effort.body_bytes})
        with course.contestants(directory) as contestants:
            for contestant in contestants:
                loaded(contestant, min(1, effort.secs), CONNECTIONS)
            rss = {contestant.name: contestant.rss_bytes() for contestant in contestants}

            def one(contestant: Contestant) -> Sample:
                contestant.forget_peak()
                before = contestant.cpu_secs()
                place: Place
                if send:
                    place = contestant.own
                    took = clients.upload(place.port, place.headers, "/", effort.body_bytes)
                else:
                    place = contestant.nginx
                    took = clients.download(place.port, place.headers, "/files/long", effort.body_bytes)
                used = contestant.cpu_secs() - before
                growth = max(0, contestant.peak_rss_bytes() - rss[contestant.name])
                per_gib = used * (1 << 30) / effort.body_bytes
                return {
                    "mb_per_sec": effort.body_bytes / took / 1e6,
                    **own(contestant, cost_secs=per_gib, growth_mib=growth / MIB),
                }

            return in_turns(contestants, effort.rounds, one)

    return measure


def websockets(course: Course, directory: Path, effort: Effort) -> Results:
    """Messages that come back."""

    def one(contestant: Contestant) -> Sample:
        before = contestant.cpu_secs()
        place = contestant.own
        took = clients.echo(place.port, place.headers, connections=CONNECTIONS, secs=effort.secs)
        used = contestant.cpu_secs() - before
        return {
            "per_sec": len(took) / effort.secs,
            **_percentiles(took),
            **own(contestant, cost_us=used / len(took) * 1e6),
        }

    with course.contestants(directory) as contestants:
        return in_turns(contestants, effort.rounds, one)


def constant_rate(course: Course, directory: Path, effort: Effort) -> Results:
    """Requests when they are due."""
    results: dict[str, list[Sample]]
    with course.contestants(directory) as contestants:

        def one(contestant: Contestant) -> Sample:
            before = contestant.cpu_secs()
            place = contestant.nginx
            took = clients.at_rate(
                place.port, place.headers, per_sec=PER_SEC, secs=effort.secs, connections=CONNECTIONS
            )
            used = contestant.cpu_secs() - before
            return {**_percentiles(took), **own(contestant, cost_us=used / len(took) * 1e6)}

        for contestant in contestants:
            loaded(contestant, min(1, effort.secs), CONNECTIONS)
        results = in_turns(contestants, effort.rounds, one)
        direct = results[contestants[-1].name]
    return {
        name: [
            _added(sample, least) if sample is not least else sample
            for sample, least in zip(samples, direct, strict=True)
        ]
        for name, samples in results.items()
    }


def idle(course: Course, directory: Path, effort: Effort) -> Results:
    """
    One contestant after the other, as the many clients of all of them at once would be too many for one machine; in turns
    without them and with them is what is measured of each.
    """
    course = replace(course, settings={"WAITER_LISTEN_MAX_CONNECTIONS": str(effort.idle + 1000)})
    results: dict[str, list[Sample]] = {}
    for name in course.names:
        home = directory / name
        home.mkdir(mode=0o711)
        with replace(course, names=[name]).contestants(home) as (contestant, *rest):
            if not rest:
                continue
            loaded(contestant, min(1, effort.secs), CONNECTIONS)
            alone = [loaded(contestant, effort.secs, CONNECTIONS) for _ in range(effort.rounds)]
            before = contestant.rss_bytes()
            place = contestant.nginx
            with crowd.crowd(home, place.port, place.headers, within_secs=300, idle=effort.idle):
                # They have asked, but not all of them have their answer.
                time.sleep(SETTLED_SECS)
                memory = (contestant.rss_bytes() - before) / effort.idle / 1024
                resting = contestant.cpu_secs()
                time.sleep(effort.secs)
                busy = (contestant.cpu_secs() - resting) / effort.secs * 100
                beside = [loaded(contestant, effort.secs, CONNECTIONS) for _ in range(effort.rounds)]
        results[name] = [
            {
                "kib": memory,
                "idle_percent": busy,
                "alone_us": quiet["cost_us"],
                "alone_p99_ms": quiet["p99_ms"],
                **{key: crowded[key] for key in ("cost_us", "p50_ms", "p99_ms", "per_sec")},
            }
            for quiet, crowded in zip(alone, beside, strict=True)
        ]
        progress(f"  {name}")
    return results


def _percentiles(took: Sequence[float]) -> dict[str, float]:
    return {"p50_ms": clients.percentile(took, 50) * 1000, "p99_ms": clients.percentile(took, 99) * 1000}


def _added(sample: Sample, direct: Sample) -> Sample:
    return {**sample, **{f"added_{key}": sample[key] - direct[key] for key in ("p50_ms", "p99_ms")}}
