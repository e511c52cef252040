"""L{waiter.catalog.token_rules}."""

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.catalog.test_token_posts import understood
from tests.model.test_token import make_token
from waiter.catalog.hosts import own_hosts
from waiter.catalog.rules import Rules
from waiter.catalog.token_records import nested, read, written
from waiter.catalog.token_rules import Entitlements, TokenRules
from waiter.errors import BadRequest, Forbidden, NotFound, PreconditionFailed, ServiceMisconfigured, WaiterError

NOW = 1000.5
SERVICE = {"cmd": "./run", "cpus": 1, "mem": 128, "version": "1", "run-as-user": "alice"}

# Root is an administrator; alice may run as carol.
RULES = TokenRules(
    cluster="waiter1",
    own_hosts=own_hosts(),
    descriptions=Rules(),
    entitlements=Entitlements(
        may_run_as=lambda user, other: user == other or (user, other) == ("alice", "carol"),
        may_manage=lambda user, owner: user == owner,
        is_admin=lambda user: user == "root",
    ),
    history_length=3,
    limit_per_owner=2,
)


class RulesTestCase(SynchronousTestCase):
    def check(self, body, **arguments):
        RULES.check(understood(body, **arguments))

    def result(self, body, stored=None, *, owned=0, now=NOW, **arguments):
        post = understood(body, **arguments)
        RULES.check(post)
        return RULES.result(post, stored, now=now, owned=lambda _: owned)

    def refused(self, kind, call, *arguments, **more):
        return self.assertRaises(kind, call, *arguments, **more).message


class CheckTests(RulesTestCase):
    def test_theFirstThingThatIsWrongIsSaid(self):
        # Each of these is wrong in all ways that come after, too.
        wrong = {"zzz": 1}
        self.assertEqual(self.refused(Forbidden, self.check, wrong, asked_name="localhost"), "Token name is reserved")
        self.assertEqual(self.refused(BadRequest, self.check, wrong, asked_name="a#"), "No parameters provided for a#")
        wrong["cmd"] = ""
        self.assertIn("invalid character", self.refused(BadRequest, self.check, wrong, asked_name="a#"))
        wrong["https-redirect"] = 5
        message = self.refused(ServiceMisconfigured, self.check, wrong)
        self.assertIn("Service description using waiter headers/token improperly configured", message)
        self.assertIn("cmd must be a non-empty string", message)
        wrong["cmd"] = "./run"
        message = self.refused(BadRequest, self.check, wrong)
        self.assertEqual(message, "Validation failed for token:\nhttps-redirect must be a boolean value")
        wrong |= {"https-redirect": True, "aaa": 2, "authentication": "disabled"}
        self.assertEqual(self.refused(BadRequest, self.check, wrong), 'Unsupported key(s) in token: ["aaa" "zzz"]')
        del wrong["aaa"], wrong["zzz"]
        message = self.refused(BadRequest, self.check, wrong)
        expected = "Tokens with authentication disabled must specify permitted-user as *, instead provided "
        self.assertEqual(message, expected)
        wrong["permitted-user"] = "*"
        self.assertIn("must specify all required parameters", self.refused(BadRequest, self.check, wrong))

    def test_whatIsRequiredMayBeMissing(self):
        for body in ({"cmd": "./run"}, {"name": "x"}, {"owner": "alice"}, {"run-as-user": "*"}, SERVICE):
            self.check(body)

    def test_whatIsMissingIsSaidWhereItMustNotBe(self):
        self.check({**SERVICE, "authentication": "disabled", "permitted-user": "*"})

    def test_whoDeletesAsAnAdministratorMaySendWhatDoesNotHold(self):
        self.check({"cmd": 5, "deleted": True}, update_mode="admin")
        with self.assertRaises(ServiceMisconfigured):
            self.check({"cmd": 5, "deleted": False}, update_mode="admin")
        with self.assertRaises(BadRequest):
            self.check({"owner": 5, "deleted": True}, update_mode="admin")

    @given(
        st.dictionaries(
            st.sampled_from(
                ["cmd", "cpus", "env", "owner", "cors-rules", "maintenance", "queue-timeout-ms", "metadata"]
            ),
            st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3) | st.just({}) | st.just([None]),
        )
    )
    def test_anyValuesAreTakenOrRefused(self, body):
        try:
            token = self.result(body)
        except WaiterError:
            return
        self.assertEqual(read("a-token", written(token)), token)


class UserTests(RulesTestCase):
    def test_aNewTokenIsOfWhoMadeIt(self):
        token = self.result(SERVICE)
        self.assertEqual(
            nested(token),
            {
                **SERVICE,
                "owner": "alice",
                "cluster": "waiter1",
                "root": "waiter1",
                "last-update-time": 1000500,
                "last-update-user": "alice",
                "previous": {},
            },
        )

    def test_anOwnerThatOneMayRunAsMayBeGiven(self):
        self.assertEqual(self.result({"owner": "carol", "cmd": "x"}).owner, "carol")
        message = self.refused(Forbidden, self.result, {"owner": "bob", "cmd": "x"})
        self.assertEqual(message, "Cannot create token as provided owner: bob")

    def test_oneMustBeAbleToRunAsTheUserOfTheService(self):
        message = self.refused(Forbidden, self.result, {"run-as-user": "bob"})
        self.assertEqual(message, "Authenticated user 'alice' cannot run as user 'bob'")
        self.assertEqual(self.result({"run-as-user": "*"}).data["run-as-user"], "*")
        message = self.refused(Forbidden, self.result, {"run-as-user": "alice", "owner": "carol"})
        self.assertEqual(message, "Owner 'carol' cannot run as user 'alice'")

    def test_theOwnerMayChangeIt_andItRemembersWhatItWas(self):
        first = self.result(SERVICE)
        second = self.result({**SERVICE, "cmd": "./walk"}, first, now=2000)
        self.assertEqual(second.previous, first)
        self.assertEqual((second.data["cmd"], second.updated_at, second.root), ("./walk", 2000.0, "waiter1"))

    def test_whatIsNotSaidAgainIsGone(self):
        second = self.result({"cmd": "./run"}, self.result(SERVICE))
        self.assertEqual(second.data, {"cmd": "./run", "owner": "alice"})

    def test_onlySoManyVersionsAreRemembered(self):
        token = None
        for number in range(6):
            token = self.result({**SERVICE, "version": str(number)}, token)
        self.assertEqual([version.data["version"] for version in token.history()], ["5", "4", "3", "2"])

    def test_eachChangeIsLaterThanTheOneBefore(self):
        first = self.result({"cmd": "1"})
        second = self.result({"cmd": "2"}, first, now=NOW - 100)
        self.assertEqual(second.updated_at_ms, first.updated_at_ms + 1)
        again = self.result({"cmd": "1"}, second)
        self.assertNotEqual(again.etag, first.etag)

    def test_whenNothingIsChanged_itStaysAsItIs(self):
        rule = {"origin-regex": ".*", "methods": ["GET"]}
        body = {**SERVICE, "cors-rules": [rule], "allowed-params": ["A"], "env": {"B": "c"}}
        token = self.result(body)
        self.assertIs(self.result(body, token, now=2000), token)
        self.assertIs(self.result({**body, "owner": "alice", "cluster": "waiter1"}, token, now=2000), token)
        self.assertIsNot(self.result({**body, "cluster": "other"}, token), token)

    def test_othersMayNotChangeIt(self):
        message = self.refused(Forbidden, self.result, {"cmd": "x"}, self.result(SERVICE), by="bob")
        self.assertIn("'alice'", message)
        self.assertIn("'bob'", message)

    def test_anEditorMayChangeWhatIsRun_butNotAsWhom(self):
        body = {**SERVICE, "editor": "bob"}
        token = self.result(body)
        edited = self.result({**body, "cmd": "./walk"}, token, by="bob")
        self.assertEqual((edited.owner, edited.updated_by, edited.data["cmd"]), ("alice", "bob", "./walk"))
        for key in ("editor", "owner", "run-as-user"):
            message = self.refused(
                Forbidden, self.result, {**body, key: "bob"} if key != "editor" else SERVICE, token, by="bob"
            )
            self.assertEqual(message, f"Not allowed to edit parameter {key}")

    def test_theSystemsMetadataCannotBeSaid(self):
        for key in ("last-update-time", "last-update-user", "root", "previous", "deleted"):
            message = self.refused(BadRequest, self.result, {**SERVICE, key: {}})
            self.assertEqual(message, f"Cannot modify {key} token metadata")
        self.assertEqual(self.result({**SERVICE, "cluster": "other"}).cluster, "other")

    def test_whoExpectsAnotherVersionIsRefused(self):
        token = self.result(SERVICE)
        for if_match in ("", "E-1", "x"):
            message = self.refused(PreconditionFailed, self.result, {"cmd": "x"}, token, if_match=if_match)
            self.assertIn("Cannot modify stale token", message)
        for if_match in (token.etag, f'"{token.etag}"', "*", None):
            self.result({"cmd": "x"}, token, if_match=if_match)
        with self.assertRaises(PreconditionFailed):
            self.result(SERVICE, None, if_match="*")
        for stored in (None, attrs.evolve(token, deleted=True)):
            self.result(SERVICE, stored, if_match="")
            with self.assertRaises(PreconditionFailed):
                self.result(SERVICE, stored, if_match=token.etag)

    def test_oneMayOwnSoManyTokensAndNoMore(self):
        token = self.result(SERVICE, owned=1)
        message = self.refused(Forbidden, self.result, SERVICE, owned=2)
        self.assertIn("You have reached the limit of number of tokens allowed.", message)
        self.result({"cmd": "x"}, token, owned=2)
        with self.assertRaises(Forbidden):
            self.result({"cmd": "x", "owner": "carol"}, token, owned=2)

    def test_aDeletedTokenThatIsMadeAgainBeginsAnew(self):
        token = RULES.deleted(self.result({**SERVICE, "owner": "alice"}), by="alice", now=NOW)
        again = self.result({"cmd": "x"}, token, by="bob")
        self.assertEqual((again.owner, again.previous, again.root), ("bob", None, "waiter1"))


class AdministratorTests(RulesTestCase):
    def as_root(self, body, stored=None, **arguments):
        return self.result(body, stored, by="root", update_mode="admin", **arguments)

    def test_othersMayNotDoAsOne(self):
        message = self.refused(Forbidden, self.result, SERVICE, update_mode="admin")
        self.assertEqual(message, "Cannot administer token")

    def test_everythingMayBeSaid(self):
        said = {
            **SERVICE,
            "owner": "bob",
            "cluster": "c",
            "root": "r",
            "last-update-time": "2026-01-01T00:00:00.123456+00:00",
            "last-update-user": "u",
            "previous": {"cmd": "before", "last-update-time": "1970-01-01T00:00:01Z", "previous": {"owner": 5}},
        }
        token = self.as_root(said)
        previous = token.previous
        self.assertEqual((token.owner, token.cluster, token.root, token.updated_by), ("bob", "c", "r", "u"))
        self.assertEqual(token.updated_at_ms, 1767225600123)
        self.assertEqual((previous.data, previous.updated_at), ({"cmd": "before", "owner": "bob"}, 1.0))
        self.assertEqual(previous.previous.owner, "bob")
        self.assertEqual(read("a-token", written(token)), token)
        self.assertIs(self.as_root(said, token, if_match=token.etag), token)
        self.assertEqual(self.as_root(said).etag, token.etag)

    def test_aLongHistoryIsCut(self):
        previous = {}
        for number in range(500):
            previous = {"cmd": str(number), "previous": previous}
        token = self.as_root({**SERVICE, "previous": previous})
        self.assertEqual([version.data["cmd"] for version in token.history()], ["./run", "499", "498", "497"])

    def test_whoChangesMustSayWhich(self):
        token = self.as_root(SERVICE)
        message = self.refused(BadRequest, self.as_root, {"cmd": "x"}, token)
        self.assertEqual(message, "Must specify if-match header for admin mode token updates")
        self.assertEqual(self.as_root({"cmd": "x"}, token, if_match=token.etag).previous, token)

    def test_aTokenCanBeDeletedAndBroughtBack(self):
        token = self.as_root({**SERVICE, "deleted": True})
        self.assertTrue(token.deleted)
        self.assertFalse(self.as_root({**SERVICE, "deleted": False}, token).deleted)

    def test_thereIsNoLimit(self):
        self.as_root(SERVICE, owned=99)

    def test_whatDoesNotHoldIsRefused(self):
        for key, value in (
            ("previous", []),
            ("deleted", "yes"),
            ("last-update-time", "soon"),
            ("root", ""),
            ("cluster", 5),
            ("last-update-user", {}),
        ):
            with self.assertRaises(BadRequest):
                self.as_root({**SERVICE, key: value})


class DeleteTests(RulesTestCase):
    def check_delete(self, stored, *, by="alice", hard=False, if_match=None):
        return RULES.check_delete("a-token", stored, by=by, hard=hard, if_match=if_match)

    def test_theOwnerMay(self):
        token = make_token()
        self.assertIs(self.check_delete(token), token)
        self.assertEqual(
            self.refused(Forbidden, self.check_delete, token, by="bob"), "User not allowed to delete token"
        )
        for stored in (None, make_token(deleted=True)):
            message = self.refused(NotFound, self.check_delete, stored)
            self.assertEqual(message, "Token a-token does not exist")

    def test_onlyThatVersion(self):
        token = make_token()
        self.check_delete(token, if_match=token.etag)
        with self.assertRaises(PreconditionFailed):
            self.check_delete(token, if_match="E-1")

    def test_forGoodOnlyAnAdministratorMay_whoSaysWhich(self):
        token = make_token()
        self.assertEqual(self.refused(Forbidden, self.check_delete, token, hard=True), "Cannot hard-delete token")
        message = self.refused(BadRequest, self.check_delete, token, by="root", hard=True)
        self.assertEqual(message, "Must specify if-match header for token hard deletes")
        self.check_delete(token, by="root", hard=True, if_match=token.etag)
        self.check_delete(make_token(deleted=True), by="root", hard=True)
        with self.assertRaises(NotFound):
            self.check_delete(None, by="root", hard=True)

    def test_whatIsDeletedIsKept(self):
        token = make_token()
        deleted = RULES.deleted(token, by="bob", now=NOW)
        self.assertEqual((deleted.previous, deleted.data, deleted.updated_by), (token, token.data, "bob"))
        self.assertEqual((deleted.deleted, deleted.updated_at, deleted.etag), (True, NOW, ""))
