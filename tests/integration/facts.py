"""What is true of a state directory, found out without the code that is under test."""

import fcntl
import json
import os

import attrs
import psutil

from waiter.scheduler.local.ports import lock_directory


@attrs.frozen
class Facts:
    """
    One look.

    @ivar records: what every C{instance.json} says, by the name of its directory.
    @ivar carriers: the live processes that say they belong to an instance of the state directory, by its id.
    @ivar bare: the names of instance directories without a record.
    @ivar spoilt: the names of those with one that says nothing.
    """

    records: dict
    carriers: dict
    bare: frozenset
    spoilt: frozenset

    @property
    def open(self):
        """The records without an end."""
        return {name: record for name, record in self.records.items() if record["ended-at"] is None}

    def alive(self, name):
        """Whether the launcher that a record names lives and is its own."""
        return self.records[name]["pid"] in self.carriers.get(name, ())

    def nameless(self):
        """The processes that no open record names."""
        return {name: pids for name, pids in self.carriers.items() if name not in self.open}

    def lost(self):
        """The open records of which nothing lives."""
        return sorted(name for name in self.open if not self.alive(name))

    def shared_ports(self):
        """Ports that two live instances were given."""
        ports = [port for name in self.carriers if name in self.open for port in self.open[name]["ports"]]
        return sorted({port for port in ports if ports.count(port) > 1})

    def leaked_ports(self, port_range):
        """Ports that are locked, and belong to no live instance."""
        used = {port for name in self.carriers if name in self.open for port in self.open[name]["ports"]}
        return sorted(set(locked_ports(port_range)) - used)


def look(state):
    """Look at a state directory and at the machine."""
    # The processes first: what is started meanwhile has its record before its process.
    carriers = carriers_under(state)
    records, bare, spoilt = {}, set(), set()
    for directory in state.glob("services/*/*"):
        try:
            records[directory.name] = json.loads((directory / "instance.json").read_bytes())
        except FileNotFoundError:
            bare.add(directory.name)
        except ValueError:
            spoilt.add(directory.name)
    return Facts(records, carriers, frozenset(bare), frozenset(spoilt))


def carriers_under(state):
    """The live processes whose environment gives them a place below C{state}, by instance id."""
    found = {}
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            if environment.get("WAITER_SANDBOX", "").startswith(f"{state}/") and is_alive(process):
                found.setdefault(environment["WAITER_INSTANCE_ID"], set()).add(process.pid)
        except psutil.Error:
            continue
    return found


def is_alive(process):
    return process.status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}


def zombies_of(pid):
    """The children of a process that it has not reaped."""
    return [child.pid for child in psutil.Process(pid).children() if child.status() == psutil.STATUS_ZOMBIE]


def locked_ports(port_range):
    """The ports of a range that somebody holds the lock of."""
    locked = []
    for port in range(port_range[0], port_range[1] + 1):
        try:
            file = os.open(lock_directory() / str(port), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            locked.append(port)
        finally:
            os.close(file)
    return locked
