"""Coverage-guided fuzzing of the router; see README.md."""

import sys
from pathlib import Path

import atheris

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

with atheris.instrument_imports(include=["waiter.router"]):
    import waiter.router.client_connection  # noqa: F401
from tests.hostile.answers import REPLIES
from tests.hostile.corpus import CASES
from tests.router import test_fuzz


def pieces(data):
    """The stream, and the ways to cut it: the first two bytes say where."""
    cut, stream = data[:2], data[2:]
    if len(cut) < 2 or not stream:
        return []
    size = 1 + cut[0]
    start = cut[1] % len(stream)
    cuts = [stream[:start], *(stream[at : at + size] for at in range(start, len(stream), size))]
    return [[stream], [piece for piece in cuts if piece]]


def requests(data):
    """Whatever a client sends."""
    outcomes = [test_fuzz.RequestTests("test_mutated").outcome(way) for way in pieces(data)]
    if any(outcome != outcomes[0] for outcome in outcomes):
        raise AssertionError(outcomes)


def answers(data):
    """Whatever an instance answers."""
    outcomes = [test_fuzz.AnswerTests("test_mutated").outcome(way) for way in pieces(data)]
    if len({outcome for outcome in outcomes if outcome[1]}) > 1:
        raise AssertionError(outcomes)


def seeds(directory, streams):
    """Begin with what is known to be interesting."""
    directory.mkdir(exist_ok=True)
    for number, stream in enumerate(streams):
        if len(stream) < 1000:
            (directory / f"seed-{number}").write_bytes(b"\x03\x05" + stream)


def main():
    """Run one of the targets with libFuzzer's arguments."""
    target = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    chosen = {"requests": (requests, CASES), "answers": (answers, REPLIES)}.get(target)
    if chosen is None:
        sys.exit("usage: router.py requests|answers [libFuzzer's arguments]")
    check, cases = chosen
    for argument in sys.argv[1:]:
        if not argument.startswith("-") and not Path(argument).is_file():
            seeds(Path(argument), [getattr(case, "stream", None) or case.data for case in cases])
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
