"""
Writes tokens until it is killed: C{python -m tests.integration.token_writer}.

Each line on standard input is a JSON object that says where the store is and with what to go on; for each of them a new
process is forked, so that nothing has to be imported again. That process prints its id, then each write that was
acknowledged, as soon as it was.
"""

import json
import os
import sys

from twisted.application.service import MultiService
from twisted.internet import defer, threads

from waiter.catalog.hosts import own_hosts
from waiter.catalog.rules import Rules
from waiter.catalog.sqlite import SQLiteStore
from waiter.catalog.token_editor import TokenEditor
from waiter.catalog.token_posts import understand_post
from waiter.catalog.token_rules import Entitlements, TokenRules
from waiter.catalog.tokens import TokenCatalog
from waiter.fleet.ensemble import Ensemble
from waiter.fleet.store import ZooKeeperStore
from waiter.fleet.zookeeper import ZooKeeperClient

_LOADED = (MultiService, defer, threads)

RULES = TokenRules(
    cluster="waiter",
    own_hosts=own_hosts(),
    descriptions=Rules(),
    entitlements=Entitlements(
        may_run_as=lambda user, other: user == other,
        may_manage=lambda user, owner: user == owner,
        is_admin=lambda _: True,
    ),
)

#: What is done to a token, again and again.
STEPS = ("post", "post", "post", "delete", "post", "post", "remove")


def step(number):
    """What the write of this number does."""
    return STEPS[number % len(STEPS)]


def body(number):
    """What is posted: the number in many places, and more of it than fits into a block of a disk."""
    said = {f"N{place}": str(number) for place in range(90)}
    return {"cmd": f"echo {number}", "version": str(number), "env": said, "metadata": {"pad": f"{number:010d}" * 90}}


def agrees(token, number):
    """Whether a token, even if it is deleted or not there, is what it was after the write of this number."""
    if number == 0 or step(number) == "remove":
        return token is None
    if step(number) == "delete":
        return token is not None and token.deleted and agrees(token.previous, number - 1)
    if token is None or token.deleted or token.parameters != body(number):
        return False
    # It begins anew after it was deleted.
    anew = number == 1 or step(number - 1) != "post"
    return token.previous is None if anew else agrees(token.previous, number - 1)


async def write(tokens, name, number):
    """Do the write of this number."""
    editor = TokenEditor(tokens, RULES, lambda: 1000.0)
    if step(number) == "post":
        posted = json.dumps(body(number)).encode()
        await editor.post(understand_post(posted, asked_name=name, by="alice", update_mode=None, if_match=None))
    elif step(number) == "delete":
        await editor.delete(name, by="alice", if_match=None)
    else:
        await editor.delete_for_good(name, by="alice", if_match=tokens.find(name).etag)


def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def run(reactor, said):
    if "hosts" in said:
        client = ZooKeeperClient(reactor, Ensemble(hosts=said["hosts"], session_timeout_secs=2.0))
        await client.startService()
        store = ZooKeeperStore(reactor, client, said["path"])
    else:
        store = SQLiteStore(reactor, said["path"])
    await store.startService()
    tokens = TokenCatalog(reactor, store)
    await tokens.startService()

    async def go_on(name, number):
        while True:
            number += 1
            await write(tokens, name, number)
            say(name, number)

    await defer.gatherResults(
        [defer.Deferred.fromCoroutine(go_on(name, number)) for name, number in said["tokens"].items()]
    )


def fork(said):
    """Run in a process of its own; returns when that has ended."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            say("pid", os.getpid())
            from twisted.internet import reactor
            from twisted.internet.task import react

            react(run, (said,), _reactor=reactor)
        finally:
            # Nobody goes on with what was going on in the process this one comes from.
            os._exit(status)
    os.waitpid(child, 0)
    say("ended")


if __name__ == "__main__":
    for line in sys.stdin:
        fork(json.loads(line))
