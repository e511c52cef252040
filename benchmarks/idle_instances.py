"""
What Waiter costs while nothing happens: CPU time of the router with many healthy instances that nobody asks for anything.

It checks their health, meters them, and looks again and again whether anything is to be done.
"""

import argparse
import contextlib
import http.client
import json
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import harness
from harness import BenchmarkError, Program

INSTANCE = """
import os, socket
listening = socket.create_server(("127.0.0.1", int(os.environ["PORT0"])), backlog=128)
while True:
    connection, _ = listening.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\nConnection: close\\r\\n\\r\\nhello\\n")
"""
SAMPLES_PER_SEC = 250
SHOWN = 25


def run(arguments: argparse.Namespace) -> None:
    """Start all, let them rest, measure."""
    wanted = arguments.services * arguments.instances
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(harness.workplace())
        script = directory / "instance.py"
        script.write_text(INSTANCE)
        router, port = stack.enter_context(harness.waiter(directory, reactor=arguments.reactor))
        before = router.cpu_secs(with_children=False)
        began = time.monotonic()
        ask_all(port, [described(script, number, arguments.instances) for number in range(arguments.services)])
        wait_until_healthy(port, wanted)
        print(harness.machine())
        print(f"{arguments.services} services with {arguments.instances} instances each\n")
        starting = router.cpu_secs(with_children=False) - before
        print(f"all healthy after {time.monotonic() - began:5.1f} s, CPU time of the router {starting:6.2f} s,")
        print(f"{'':18} of which per instance {starting / wanted * 1000:6.1f} ms\n")
        time.sleep(arguments.quiet_secs)
        if arguments.profile:
            profile(router, arguments.secs, directory / "profile")
        else:
            measure(router, arguments.secs, arguments.rounds)
        wait_until_healthy(port, wanted)


def described(script: Path, number: int, instances: int) -> dict[str, str]:
    """The headers of one service. What it declares is little, for the sake of small machines."""
    return {
        "x-waiter-cmd": f"exec {sys.executable} -S -E {script}",
        "x-waiter-version": f"idle-{number}",
        "x-waiter-cpus": "0.005",
        "x-waiter-mem": "24",
        "x-waiter-health-check-url": "/",
        "x-waiter-min-instances": str(instances),
        "x-waiter-scale-up-factor": "0.99",
    }


def ask_all(port: int, services: list[dict[str, str]]) -> None:
    """
    Ask each service once, all at the same time.

    @raise BenchmarkError: one of them did not answer well.
    """
    problems: list[str] = []

    def ask(headers: dict[str, str]) -> None:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        try:
            client.request("GET", "/", headers=headers)
            answer = client.getresponse()
            text = answer.read().decode("utf-8", "replace")
            if answer.status != 200:
                problems.append(f"answered with {answer.status}: {text[:1000]}")
        except OSError as error:
            problems.append(str(error))
        finally:
            client.close()

    threads = [threading.Thread(target=ask, args=[headers]) for headers in services]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise BenchmarkError(f"{len(problems)} of {len(services)} services failed, the first one {problems[0]}")


def wait_until_healthy(port: int, wanted: int, *, within_secs: float = 300) -> None:
    """Returns when there are so many healthy instances."""
    deadline = time.monotonic() + within_secs
    while True:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            client.request("GET", "/apps", headers={"Accept": "application/json"})
            services = json.loads(client.getresponse().read())
        finally:
            client.close()
        healthy = sum(service["instance-counts"]["healthy-instances"] for service in services)
        if healthy == wanted:
            return
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{healthy} of {wanted} instances are healthy")
        time.sleep(1)


def measure(router: Program, secs: float, rounds: int) -> None:
    """Print the router's CPU time as a share of one core, and how much of it is that of the reactor's thread."""
    shares, reactors = [], []
    for _ in range(rounds):
        began, whole, reactor = time.monotonic(), router.cpu_secs(with_children=False), router.main_thread_cpu_secs()
        time.sleep(secs)
        took = time.monotonic() - began
        shares.append((router.cpu_secs(with_children=False) - whole) / took * 100)
        reactors.append((router.main_thread_cpu_secs() - reactor) / took * 100)
    print(f"{'% of one core':24}{'lowest':>8} {'median':>8} {'highest':>8}")
    print(f"{'idle':24}{harness.spread(shares, 2)}")
    print(f"{'  reactor thread':24}{harness.spread(reactors, 2)}")


def profile(router: Program, secs: float, output: Path) -> None:
    """
    Print where the time goes, function by function: in it alone, and with all it calls.

    @raise BenchmarkError: py-spy failed.
    """
    spy = shutil.which("py-spy", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    if spy is None:
        raise BenchmarkError("not installed: py-spy (pip install py-spy)")
    command = [spy, "record", "--format", "raw", "--output", output, "--pid", router.pid]
    command += ["--rate", SAMPLES_PER_SEC, "--duration", int(secs), "--nonblocking"]
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if result.returncode:
        raise BenchmarkError(f"py-spy failed: {result.stderr or result.stdout}")
    own, whole = parse_stacks(output.read_text())
    for title, counts in (("in the function itself", own), ("with all it calls", whole)):
        print(f"{'% of one core, ' + title:44}")
        for name, samples in counts.most_common(SHOWN):
            print(f"{samples / secs / SAMPLES_PER_SEC * 100:8.2f}  {name}")
        print()


def parse_stacks(text: str) -> tuple[Counter[str], Counter[str]]:
    """How many samples found each function on top, and how many found it anywhere in a stack."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        functions = [frame.rpartition(":")[0] or frame for frame in stack.split(";")]
        own[functions[-1]] += int(count)
        for function in set(functions):
            whole[function] += int(count)
    return own, whole


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="What Waiter costs while nothing happens.")
    parser.add_argument("--services", type=int, default=200, help="how many there are (%(default)s)")
    parser.add_argument("--instances", type=int, default=1, help="of each service (%(default)s)")
    parser.add_argument("--quiet-secs", type=float, default=15, help="between start and measuring (%(default)s)")
    parser.add_argument("--secs", type=float, default=60, help="of each round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of measuring (%(default)s)")
    parser.add_argument("--profile", action="store_true", help="show where the time goes instead; needs py-spy")
    parser.add_argument("--reactor", help="what twistd's --reactor is to be (Waiter's own choice)")
    harness.main(run, parser)
