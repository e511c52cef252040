"""Writes to a store until it is killed: C{python -m tests.catalog.store_writer PATH LAST}; prints what is acknowledged."""

import sys

from twisted.internet import reactor
from twisted.internet.task import react

from waiter.catalog.sqlite import SQLiteStore


async def write(reactor, path, last):
    store = SQLiteStore(reactor, path)
    await store.startService()
    number = int(last)
    while True:
        number += 1
        await store.put(f"key/{number}", b"%d" % number * 1000)
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    react(write, sys.argv[1:], _reactor=reactor)
