"""
What tokens cost when there are many: two servers, one with few tokens and one with many, are asked the same in turns.

Every owner has a hundred tokens, or as many as there are. Of each kind of request the median of the two is compared; what
else the machine does hits both.
"""

import argparse
import contextlib
import http.client
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from getpass import getuser
from pathlib import Path

import harness
from harness import BenchmarkError

OWNED = 100
FILLERS = 8
# The settings allow one user fewer than are made here.
SETTINGS = {"WAITER_TOKENS_LIMIT_PER_OWNER": "1000000"}


class Server:
    """A Waiter with so many tokens, and a connection to it."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._numbers = itertools.count()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.count = count

    def fill(self) -> None:
        """Make the tokens."""
        with ThreadPoolExecutor(FILLERS) as pool:
            list(pool.map(self._fill_some, range(FILLERS)))

    def _fill_some(self, first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        for number in range(first, self.count, FILLERS):
            # As an administrator, who may make tokens for others.
            token = {**described(number), "owner": f"owner-{number // OWNED}"}
            ask(connection, "POST", f"/token?token=token-{number}&update-mode=admin", token)
        connection.close()

    def create(self) -> None:
        """Make one more."""
        number = next(self._numbers)
        ask(self._connection, "POST", f"/token?token=new-{number}", described(number))

    def look_up(self) -> None:
        """Find out which service a token is for, as each request for it does."""
        ask(self._connection, "GET", "/service-id", headers={"x-waiter-token": f"token-{self.count - 1}"})

    def show(self) -> None:
        """Read a token."""
        ask(self._connection, "GET", f"/token?token=token-{self.count - 1}&include=metadata")

    def list_owned(self) -> None:
        """List those of an owner."""
        found = json.loads(ask(self._connection, "GET", "/tokens?owner=owner-0&include=metadata"))
        if len(found) != OWNED:
            raise BenchmarkError(f"the owner of {OWNED} tokens has {len(found)}")


def described(number: int) -> dict[str, object]:
    """What is said of a token."""
    return {
        "cmd": f"exec python3 -m http.server --bind 127.0.0.1 $PORT0 # {number}",
        "cpus": 0.1,
        "mem": 64,
        "version": "1",
        "run-as-user": getuser(),
        "permitted-user": "*",
        "health-check-url": "/",
        "env": {"NUMBER": str(number), "SOMETHING": "x" * 100},
        "metadata": {"team": "benchmarks"},
    }


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """
    Send a request and read the answer.

    @raise BenchmarkError: it was no success.
    """
    sent = None if body is None else json.dumps(body).encode()
    connection.request(method, path, body=sent, headers={"accept": "application/json", **(headers or {})})
    response = connection.getresponse()
    answer = response.read()
    if response.status != 200:
        raise BenchmarkError(f"{method} {path} was answered with {response.status}: {answer.decode()}")
    return answer


def compare(servers: list[Server], request: Callable[[Server], None], times: int) -> list[float]:
    """The median milliseconds that a request takes at each of the servers, asked in turns."""
    took: list[list[float]] = [[] for _ in servers]
    for _ in range(times):
        for server, durations in zip(servers, took, strict=True):
            began = time.perf_counter()
            request(server)
            durations.append((time.perf_counter() - began) * 1000)
    return [statistics.median(durations) for durations in took]


@contextlib.contextmanager
def filled(directory: Path, count: int) -> Iterator[Server]:
    """A server with so many tokens, started again when it has them."""
    directory.mkdir()
    with harness.waiter(directory, settings=SETTINGS) as (_, port):
        Server(port, count).fill()
    # What it says when it is ready stands in there already.
    (directory / "waiter.log").unlink()
    began = time.perf_counter()
    with harness.waiter(directory, settings=SETTINGS) as (program, port):
        print(
            f"{count:6} tokens: started in {time.perf_counter() - began:.2f} s, "
            f"{program.rss_bytes() / 2**20:.0f} MiB of memory"
        )
        yield Server(port, count)


def run(arguments: argparse.Namespace) -> None:
    """Start both, fill them, measure."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(harness.workplace())
        print(harness.machine())
        counts = [arguments.few, arguments.many]
        servers = [stack.enter_context(filled(directory / str(count), count)) for count in counts]
        print(f"\n{'median ms at so many tokens':32}{counts[0]:>10}{counts[1]:>10}     times")
        failed = []
        for title, request in (
            ("create", Server.create),
            ("look up, cached", Server.look_up),
            ("read", Server.show),
            (f"list an owner's {OWNED}", Server.list_owned),
        ):
            compare(servers, request, 20)
            few, many = compare(servers, request, arguments.times)
            print(f"{title:32}{few:10.3f}{many:10.3f}{many / few:10.2f}")
            if many > few * arguments.most:
                failed.append(title)
        if failed:
            raise BenchmarkError(f"more than {arguments.most} times as much: {', '.join(failed)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="What tokens cost when there are many.")
    parser.add_argument("--few", type=int, default=100, help="tokens of the one (%(default)s)")
    parser.add_argument("--many", type=int, default=10000, help="tokens of the other (%(default)s)")
    parser.add_argument("--times", type=int, default=500, help="each request is sent (%(default)s)")
    parser.add_argument("--most", type=float, default=1.5, help="how many times as much it may cost (%(default)s)")
    harness.main(run, parser)
