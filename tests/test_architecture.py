"""The house rules that a machine can check: which way imports point, and how long a file may be."""

import ast
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import waiter

PACKAGE = Path(waiter.__file__).parent

# Which other rooms each room may import. Everything may import model, errors, support and version.
MAY_IMPORT = {
    "model": set(),
    "support": set(),
    "telemetry": set(),
    "catalog": set(),
    "scheduler": set(),
    "reservation": set(),
    "discovery": {"scheduler"},
    "fleet": {"catalog", "discovery", "telemetry"},
    "autoscaler": {"scheduler", "reservation"},
    "admin": {"scheduler", "reservation", "discovery", "autoscaler", "catalog", "telemetry"},
    "router": {"catalog", "reservation", "admin", "telemetry"},
}

# Rules: values in, values out. No Twisted, no clock, no I/O.
PURE = (
    "model",
    "scheduler.local.explanations",
    "discovery.distribution",
    "discovery.deployment_errors",
    "discovery.batch",
    "discovery.sightings",
    "discovery.assessment",
    "discovery.maintainer",
    "fleet.curator",
    "fleet.ensemble",
    "fleet.nodes",
    "reservation.selection",
    "autoscaler.scaling",
    "scheduler.answer",
    "scheduler.probing",
    "admin.log_frames",
    "admin.openapi",
    "router.answers",
    "router.door",
    "router.fields",
    "router.frames",
    "router.headers",
    "router.pace",
    "router.pem",
    "router.retries",
    "catalog.complaints",
    "catalog.consent",
    "catalog.effective",
    "autoscaler.going",
    "catalog.cors",
    "catalog.headers",
    "catalog.interstitial",
    "catalog.merging",
    "catalog.succession",
    "catalog.rules",
    "catalog.validation",
    "catalog.seal",
    "catalog.service_id",
    "catalog.token_index",
    "catalog.token_posts",
    "catalog.token_records",
    "catalog.token_rules",
    "catalog.admission",
    "scheduler.local.footprint",
    "scheduler.local.limits",
    "scheduler.environment",
    "scheduler.local.environment",
    "scheduler.local.validation",
    "scheduler.marathon.addresses",
    "scheduler.marathon.errors",
    "scheduler.marathon.failures",
    "scheduler.marathon.reading",
    "scheduler.marathon.rules",
    "scheduler.marathon.sse",
    "scheduler.marathon.translation",
    "scheduler.marathon.validation",
)
EFFECTS = {"twisted", "treq", "klein", "time", "socket", "subprocess", "os", "sqlite3", "random"}

LONGEST_FILE = 500


def imports_of(path):
    """The dotted names that a module imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def modules():
    """Every module of the package: its dotted name below C{waiter}, its path."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        yield name.removesuffix(".__init__"), path


class ArchitectureTests(SynchronousTestCase):
    def test_roomsImportOnlyTheRoomsBelowThem(self):
        wrong = []
        for name, path in modules():
            room = name.split(".")[0]
            if room not in MAY_IMPORT:
                continue
            for imported in imports_of(path):
                if not imported.startswith("waiter."):
                    continue
                other = imported.split(".")[1]
                if other in {room, "model", "errors", "support", "version", "__version__"}:
                    continue
                if other not in MAY_IMPORT[room]:
                    wrong.append(f"{name} imports {imported}")
        self.assertEqual(wrong, [])

    def test_everyRoomIsNamedHere(self):
        rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
        self.assertEqual(rooms, set(MAY_IMPORT))

    def test_rulesArePure(self):
        wrong = []
        found = set()
        for name, path in modules():
            rule = next((rule for rule in PURE if name == rule or name.startswith(f"{rule}.")), None)
            if rule is None:
                continue
            found.add(rule)
            wrong += [
                f"{name} imports {imported}" for imported in imports_of(path) if imported.split(".")[0] in EFFECTS
            ]
        self.assertEqual(wrong, [])
        self.assertEqual(found, set(PURE))

    def test_onlyTheCommandLineAndTheChoiceOfAReactorImportIt(self):
        found = [name for name, path in modules() if "twisted.internet.reactor" in imports_of(path)]
        self.assertEqual(found, ["support.reactors", "tap"])

    def test_onlyTheAssemblyKnowsEverything(self):
        found = [name for name, path in modules() if any(i.startswith("waiter.assembly") for i in imports_of(path))]
        self.assertEqual(found, ["tap"])

    def test_noFileIsTooLongToReadInOneSitting(self):
        lengths = {name: len(path.read_text().splitlines()) for name, path in modules()}
        self.assertEqual({name: length for name, length in lengths.items() if length > LONGEST_FILE}, {})
