"""L{waiter.admin.tokens}, L{waiter.admin.token_listing} and L{waiter.admin.token_watch}."""

import json

from twisted.internet.defer import fail
from twisted.trial.unittest import SynchronousTestCase

from tests.admin.support import Api
from waiter.admin.token_watch import WatchedTokens
from waiter.catalog.interface import StoreUnusable

SERVICE = {"cmd": "./run", "cpus": 1, "mem": 128, "version": "1", "run-as-user": "alice"}
JSON = {"accept": "application/json"}


class TokenTestCase(SynchronousTestCase):
    def setUp(self):
        self.api = Api()

    def post(self, body, query="token=a-token", api=None, **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {**JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return (api or self.api).ask(self, f"/token?{query}", method="POST", data=data, headers=sent)

    def get(self, path, **headers):
        return self.api.ask(self, path, headers={**JSON, **headers})

    def made(self, name, body=SERVICE, **headers):
        answer = self.post(body, f"token={name}", **headers)
        self.assertEqual(answer.code, 200, answer.content)
        return answer

    def error(self, answer, status):
        self.assertEqual(answer.code, status, answer.content)
        return answer.json["waiter-error"]["message"]


class TokenTests(TokenTestCase):
    def test_whatIsPostedIsGottenUnchanged_withItsOwner(self):
        body = {**SERVICE, "metadata": {"a": "b"}, "https-redirect": True, "allowed-params": ["X"], "cluster": "c"}
        answer = self.made("a-token", body)
        self.assertEqual(answer.json["message"], "Successfully created a-token")
        self.assertEqual(answer.header("x-waiter-operation-result"), "token-created")
        gotten = self.get("/token?token=a-token")
        del body["cluster"]
        self.assertEqual(gotten.json, {**body, "owner": "alice"})
        self.assertEqual(gotten.header("etag"), answer.header("etag"))
        self.assertTrue(answer.header("etag").startswith("E-"))

    def test_withMetadataThereIsWhatTheSystemSays(self):
        self.made("a-token")
        self.made("a-token", {**SERVICE, "cmd": "./walk"})
        found = self.get("/token?token=a-token&include=metadata").json
        system = {
            "cluster": "waiter",
            "last-update-time": "2026-01-31T12:00:00.001Z",
            "last-update-user": "alice",
            "owner": "alice",
            "root": "waiter",
        }
        before = {**SERVICE, **system, "last-update-time": "2026-01-31T12:00:00.000Z", "previous": {}}
        self.assertEqual(found, {**SERVICE, **system, "cmd": "./walk", "previous": before})

    def test_theNameComesFromTheQuery_theHeaderOrTheHost(self):
        self.made("a-token")
        self.made("b-token.example", {"cmd": "b"})
        self.assertEqual(self.get("/token", **{"x-waiter-token": "a-token"}).json["cmd"], "./run")
        self.assertEqual(self.get("/token?token=a-token", **{"x-waiter-token": "x"}).json["cmd"], "./run")
        self.assertEqual(self.get("/token", host="B-token.example:9091").json["cmd"], "b")
        self.assertEqual(self.error(self.get("/token"), 400), "Couldn't find token in request")

    def test_atTheHostOfATokenTheOthersCannotBeRead(self):
        self.made("a-token")
        self.made("b-token.example", {"cmd": "b"})
        for query, headers in (("?token=a-token", {}), ("", {"x-waiter-token": "a-token"})):
            answer = self.get(f"/token{query}", host="b-token.example", **headers)
            self.assertIn("only at Waiter's own host names", self.error(answer, 400))

    def test_whatIsNotThereIsNotFound(self):
        for name in ("nothing", "a%23b", "%00", "x" * 300, "^SERVICE-ID"):
            self.assertIn("Couldn't find token", self.error(self.get(f"/token?token={name}"), 404))

    def test_whenPostedAgainUnchanged_nothingHappens(self):
        first = self.made("a-token")
        again = self.made("a-token", if_match=first.header("etag"))
        self.assertEqual(again.json["message"], "No changes detected for a-token")
        self.assertEqual(again.header("x-waiter-operation-result"), "token-no-op")
        self.assertEqual(again.header("etag"), first.header("etag"))

    def test_whenPostedAgainChanged_itIsUpdated(self):
        first = self.made("a-token", if_match="")
        answer = self.made("a-token", {"cmd": "x"}, if_match=first.header("etag"))
        self.assertEqual(answer.json["message"], "Successfully updated a-token")
        self.assertEqual(answer.json["service-description"], {"cmd": "x"})
        self.assertEqual(answer.header("x-waiter-operation-result"), "token-updated")
        stale = self.post({"cmd": "y"}, if_match=first.header("etag"))
        self.assertIn("stale token", self.error(stale, 412))
        self.assertEqual(self.get("/token?token=a-token").json["cmd"], "x")

    def test_whatIsWrongIsSaid(self):
        self.assertIn("Invalid JSON payload", self.error(self.post(b"{"), 400))
        message = self.error(self.post({"cmd": ""}), 400)
        self.assertIn("improperly configured", message)
        self.assertIn("cmd must be a non-empty string", message)
        self.assertIn("Unsupported key(s)", self.error(self.post({"cmd": "x", "y": 1}), 400))
        self.assertIn("cannot run as user 'bob'", self.error(self.post({"run-as-user": "bob"}), 403))
        self.assertEqual(self.get("/tokens").json, [])

    def test_aTokenIsDeletedSoThatItCanStillBeSeen(self):
        self.made("a-token")
        answer = self.api.ask(self, "/token", method="DELETE", headers={"x-waiter-token": "a-token"})
        self.assertEqual(answer.json, {"delete": "a-token", "hard-delete": False, "success": True})
        self.assertEqual(answer.header("x-waiter-operation-result"), "token-deleted")
        self.assertEqual(self.get("/token?token=a-token").code, 404)
        seen = self.get("/token?token=a-token&include=metadata&include=deleted")
        self.assertIs(seen.json["deleted"], True)
        self.assertEqual(seen.json["previous"]["cmd"], "./run")
        self.assertIsNone(seen.header("etag"))
        again = self.api.ask(self, "/token?token=a-token", method="DELETE", headers=JSON)
        self.assertEqual(self.error(again, 404), "Token a-token does not exist")
        self.assertEqual(self.made("a-token", if_match="").header("x-waiter-operation-result"), "token-created")

    def test_aTokenIsDeletedForGood(self):
        etag = self.made("a-token").header("etag")
        path = "/token?token=a-token&hard-delete=true"
        refused = self.api.ask(self, path, method="DELETE", headers=JSON)
        self.assertEqual(self.error(refused, 400), "Must specify if-match header for token hard deletes")
        answer = self.api.ask(self, path, method="DELETE", headers={**JSON, "if-match": etag})
        self.assertEqual(answer.json, {"delete": "a-token", "hard-delete": True, "success": True})
        self.assertEqual(self.get("/token?token=a-token&include=deleted").code, 404)

    def test_otherMethodsAreRefused(self):
        answer = self.api.ask(self, "/token?token=a-token", method="PUT", headers=JSON)
        self.assertEqual(self.error(answer, 405), "Invalid request method")
        self.assertEqual(answer.header("allow"), "DELETE, GET, HEAD, POST")

    def test_whenTheStoreCannotBeAsked_whatWasKnownIsShown_andNothingIsWritten(self):
        self.made("a-token")
        self.patch(self.api.store, "get", lambda _, **__: fail(StoreUnusable("gone")))
        self.assertEqual(self.get("/token?token=a-token").json["cmd"], "./run")
        self.assertIn("gone", self.error(self.get("/token?token=b-token"), 503))
        self.assertIn("gone", self.error(self.post({"cmd": "x"}), 503))


class ListTests(TokenTestCase):
    def names(self, query="", api=None):
        answer = (api or self.api).ask(self, f"/tokens{query}", headers=JSON)
        self.assertEqual(answer.code, 200, answer.content)
        return [entry["token"] for entry in answer.json]

    def test_theEntriesHaveWhatIsAskedFor(self):
        etag = self.made("a-token", {**SERVICE, "maintenance": {"message": "soon"}}).header("etag")
        entry = {
            "maintenance": True,
            "owner": "alice",
            "reference-type->reference-name": {},
            "token": "a-token",
        }
        self.assertEqual(self.get("/tokens").json, [entry])
        more = {"deleted": False, "etag": etag, "last-update-time": "2026-01-31T12:00:00.000Z"}
        self.assertEqual(self.get("/tokens?include=metadata").json, [{**entry, **more}])
        self.assertEqual(self.get("/tokens?include=cluster").json, [{**entry, "cluster": "waiter"}])

    def test_theServiceIdIsThere_whereItIsKnown(self):
        api = Api(service_id_of=lambda token: f"waiter-service-{token.name}")
        self.post(SERVICE, api=api)
        entry = api.json(self, "/tokens?include=service-id")[0]
        self.assertEqual(entry["service-id"], "waiter-service-a-token")

    def test_filtersChoose(self):
        self.made("plain", {"cmd": "a b", "env": {"FOO": "1"}, "cpus": 1})
        self.made("of-carol", {**SERVICE, "run-as-user": "carol", "owner": "carol"})
        self.made("off", {**SERVICE, "maintenance": {"message": "x"}})
        self.made("open", {**SERVICE, "run-as-user": "*", "allowed-params": ["A", "B"], "env": {"A": "1", "FOO": "2"}})
        self.made("gone")
        self.api.ask(self, "/token?token=gone", method="DELETE")
        everything = ["of-carol", "off", "open", "plain"]
        for query, expected in (
            ("", everything),
            ("?include=deleted", ["gone", *everything]),
            ("?owner=carol", ["of-carol"]),
            ("?owner=carol&owner=alice", everything),
            ("?owner=al.*", ["off", "open", "plain"]),
            ("?owner=nobody", []),
            ("?can-manage-as-user=carol", ["of-carol"]),
            ("?maintenance=true", ["off"]),
            ("?maintenance=False", ["of-carol", "open", "plain"]),
            ("?run-as-requester=true", ["open", "plain"]),
            ("?requires-parameters=true", ["open"]),
            ("?requires-parameters=false", ["of-carol", "off", "plain"]),
            ("?parameters=A,B", ["open"]),
            ("?parameters=A,C", []),
            ("?env.FOO=1", ["plain"]),
            ("?env.FOO=[12]", ["open", "plain"]),
            ("?env.FOO=", ["of-carol", "off"]),
            ("?run-as-user=*", ["open"]),
            ("?run-as-user=*&run-as-user=", ["open", "plain"]),
            ("?cpus=1.0", []),
            ("?cpus=1&cmd=a+b", ["plain"]),
            ("?cluster=waiter&last-update-user=alice&root=waiter", everything),
            ("?nonsense=1", everything),
        ):
            self.assertEqual(self.names(query), expected, query)
        for query in ("?maintenance=maybe", "?cmd=" + "(a*)*b"):
            self.assertEqual(self.get(f"/tokens{query}").code, 400, query)

    def test_onlyGetIsSupported(self):
        answer = self.api.ask(self, "/tokens", method="POST", headers=JSON)
        self.assertEqual(self.error(answer, 405), "Only GET supported")

    def test_ownersHaveKeysOfTheirOwn(self):
        self.made("a-token")
        self.made("c-token", {"cmd": "x", "owner": "carol"})
        owners = self.get("/tokens/owners").json
        self.assertEqual(sorted(owners), ["alice", "carol"])
        self.assertEqual(len(set(owners.values())), 2)

    def test_reindexingCountsTheTokens(self):
        self.made("a-token")
        answer = self.api.ask(self, "/tokens/reindex", method="POST")
        self.assertEqual(answer.json, {"message": "Successfully re-indexed", "tokens": 1})
        self.assertEqual(self.get("/tokens/reindex").code, 405)

    def test_theHistoryIsNewestFirst(self):
        for number in range(3):
            self.made("a-token", {**SERVICE, "version": str(number)})
        found = self.get("/token-history?token=a-token&length=2").json
        self.assertEqual([each["version-effective"] for each in found], ["2", "1"])
        self.assertEqual(
            found[1],
            {
                "service-description": {**SERVICE, "version": "1"},
                "service-id": None,
                "source-component": "token",
                "update-time": "2026-01-31T12:00:00.001Z",
                "version-effective": "1",
            },
        )
        self.assertEqual(len(self.get("/token-history?token=a-token").json), 3)
        self.assertEqual(self.error(self.get("/token-history?token=x"), 404), "Token not found: x")
        self.assertEqual(self.get("/token-history?token=a-token&length=x").code, 400)
        self.assertEqual(self.get("/token-history").code, 400)


class WatchTests(TokenTestCase):
    def watch(self, query="", **parts):
        if parts:
            self.api = Api(**parts)
        self.watching = self.api.watch(self, f"/tokens?watch=true{query}")
        self.assertEqual(self.watching.code, 200)

    def test_firstThereIsAll_thenWhatChanges(self):
        self.made("a-token")
        self.watch()
        self.made("b-token", {"cmd": "x", "maintenance": {"message": "off"}})
        self.api.ask(self, "/token?token=a-token", method="DELETE")
        initial, *events = self.watching.messages()
        self.assertEqual((initial["type"], initial["reference-type"]), ("INITIAL", "token"))
        self.assertEqual([entry["token"] for entry in initial["object"]], ["a-token"])
        self.assertEqual({message["type"] for message in events}, {"EVENTS"})
        self.assertEqual({message["id"] for message in events}, {initial["id"]})
        changes = [change for message in events for change in message["object"]]
        self.assertEqual([change["type"] for change in changes], ["UPDATE", "DELETE"])
        self.assertEqual(changes[0]["object"]["maintenance"], True)
        self.assertEqual(changes[1]["object"], {"owner": "alice", "token": "a-token"})

    def test_whatThereIsAtFirstIsMadeReadyOneAtATime(self):
        for name in ("a-token", "b-token"):
            self.made(name)
        ready = []
        watched = WatchedTokens(
            self.api.parts.tokens, wants=lambda _: True, entry=lambda token: ready.append(token.name) or {}
        )
        steps = watched.find()
        for names in (["a-token"], ["a-token", "b-token"]):
            next(steps)
            self.assertEqual(ready, names)
        watched.initial()
        self.assertEqual(ready, ["a-token", "b-token"])

    def test_onlyWhatIsWantedIsTold_andWhenItIsNoMore(self):
        self.watch("&maintenance=true&include=metadata")
        self.made("a-token")
        off = {**SERVICE, "maintenance": {"message": "off"}}
        self.assertEqual(len(self.watching.messages()), 1)
        etag = self.made("a-token", off).header("etag")
        self.made("a-token")
        changes = [change for message in self.watching.messages()[1:] for change in message["object"]]
        self.assertEqual([change["type"] for change in changes], ["UPDATE", "DELETE"])
        self.assertEqual(changes[0]["object"]["etag"], etag)

    def test_whenNothingChangesForLong_itEnds(self):
        self.watch("&streaming-timeout=3000")
        self.api.clock.advance(2)
        self.made("a-token")
        self.watching.messages()
        for _ in range(5):
            self.api.clock.advance(0.5)
        self.api.settle()
        self.assertEqual(self.watching.ended, [])
        for _ in range(2):
            self.api.clock.advance(0.5)
        self.api.settle()
        self.assertEqual(self.watching.ended, [None])
        self.assertEqual(self.api.clock.getDelayedCalls(), [])

    def test_whenTheServerWantsToEnd_itEnds(self):
        draining = []
        self.watch("&streaming-timeout=999999", is_draining=lambda: bool(draining))
        draining.append(True)
        self.api.clock.advance(1)
        self.api.settle()
        self.assertEqual(self.watching.ended, [None])

    def test_aTimeoutIsANumber(self):
        answer = self.get("/tokens?watch=true&streaming-timeout=x")
        self.assertEqual(self.error(answer, 400), "streaming-timeout query parameter must be an integer")
