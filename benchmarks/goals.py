"""What Waiter is to reach beside the others, and whether it does."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import cases
from contestants import WAITER
from tables import Results, median

#: The results of each case by its name.
All = Mapping[str, Results]


@dataclass(frozen=True)
class Goal:
    """
    One of them.

    @ivar measured: gives what it was and whether that is enough; C{None} if it was not measured.
    """

    text: str
    measured: Callable[[All], tuple[str, bool] | None]


def verdicts(results: All) -> str:
    """A table."""
    lines = ["| goal | measured | |", "|---|---|---|"]
    for goal in GOALS:
        found = goal.measured(results)
        text, verdict = ("not measured", "") if found is None else (found[0], "met" if found[1] else "**missed**")
        lines.append(f"| {goal.text} | {text} | {verdict} |")
    return "\n".join(lines) + "\n"


def ratio(results: All, case: str, name: str, other: str, figure: str) -> float | None:
    """What a figure is of another's; C{None} if one of them was not measured."""
    ours, theirs = (median(results.get(case, {}), each, figure) for each in (name, other))
    return None if ours is None or not theirs else ours / theirs


def _beside_nginx(results: All) -> tuple[str, bool] | None:
    found = ratio(results, "get-32", WAITER, cases.NGINX, "cost_us")
    return None if found is None else (f"{found:.2f} x", found <= 1.8)


def _below_others(results: All) -> tuple[str, bool] | None:
    found = {name: ratio(results, "get-32", WAITER, name, "cost_us") for name in ("envoy", "traefik", "caddy")}
    known = {name: value for name, value in found.items() if value is not None}
    if not known:
        return None
    return ", ".join(f"{value:.2f} x {name}" for name, value in known.items()), max(known.values()) < 1


def _bodies(results: All, *figures: str) -> Iterator[tuple[str, float]]:
    for case in ("download", "upload"):
        found = (
            ratio(results, case, WAITER, cases.NGINX, "mb_per_sec")
            if figures == ("throughput",)
            else _highest(results.get(case, {}), "growth_mib")
        )
        if found is not None:
            yield case, found


def _highest(results: Results, figure: str) -> float | None:
    return max((sample[figure] for sample in results.get(WAITER, ())), default=None)


def _throughput(results: All) -> tuple[str, bool] | None:
    found = dict(_bodies(results, "throughput"))
    if not found:
        return None
    return ", ".join(f"{case} {value:.2f} x" for case, value in found.items()), min(found.values()) >= 0.6


def _growth(results: All) -> tuple[str, bool] | None:
    found = dict(_bodies(results))
    if not found:
        return None
    return ", ".join(f"{case} {value:.1f} MiB" for case, value in found.items()), max(found.values()) <= 16


def _added(results: All) -> tuple[str, bool] | None:
    found = median(results.get("constant-rate", {}), WAITER, "added_p99_ms")
    return None if found is None else (f"{found:.2f} ms", found <= 1)


def _many(results: All) -> tuple[str, bool] | None:
    rows = [name for name in results.get("services", {}) if name.startswith(WAITER)]
    if len(rows) != 2:
        return None
    found = ratio(results, "services", rows[1], rows[0], "cost_us")
    return None if found is None else (f"{found:.2f} x", found <= 1.15)


GOALS = (
    Goal("small GET at 32 connections: CPU per request at most 1.8 x nginx", _beside_nginx),
    Goal("the same: below Envoy, Traefik and Caddy", _below_others),
    Goal("1 GiB down and up: throughput at least 0.6 x nginx", _throughput),
    Goal("the same: memory grows by at most 16 MiB, at its peak in all rounds", _growth),
    Goal("1,000 requests/s: p99 at most 1 ms above no proxy", _added),
    Goal("1,000 services in turns: CPU per request at most 1.15 x one service", _many),
)
