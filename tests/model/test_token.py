"""L{waiter.model.token}."""

import attrs
from twisted.trial.unittest import SynchronousTestCase

from waiter.model.token import Token


def make_token(name="a-token", **fields):
    """A token of alice's, written at the first second of the epoch."""
    given = {
        "data": {"cmd": "./run", "owner": "alice"},
        "updated_at": 1.0,
        "updated_by": "alice",
        "cluster": "waiter",
        "root": "waiter",
    }
    return Token(name=name, **{**given, **fields})


class TokenTests(SynchronousTestCase):
    def test_theEtagIsTheSameForTheSameContent_whateverTheName(self):
        self.assertEqual(make_token("a-token").etag, make_token("b-token", previous=make_token()).etag)

    def test_theEtagNeverChanges(self):
        self.assertEqual(make_token().etag, "E-d7942e6424db2f450b002ef183bc4938")

    def test_theEtagIsAnotherForAnotherContent(self):
        others = [
            make_token(data={"cmd": "./walk", "owner": "alice"}),
            make_token(data={"cmd": "./run", "owner": "bob"}),
            make_token(updated_at=1.001),
            make_token(updated_by="bob"),
            make_token(cluster="other"),
            make_token(root="other"),
            make_token(deleted=True),
        ]
        self.assertEqual(len({make_token().etag, *(other.etag for other in others)}), 8)

    def test_aDeletedTokenHasAnEmptyEtag(self):
        self.assertEqual(make_token(deleted=True).etag, "")

    def test_whatItHoldsCannotBeChanged(self):
        env = {"A": "1"}
        token = make_token(data={"env": env, "cors-rules": [{"methods": ["GET"]}], "owner": "alice"})
        env["A"] = "2"
        self.assertEqual(token.data["env"], {"A": "1"})
        with self.assertRaises(TypeError):
            token.data["env"]["A"] = "3"
        with self.assertRaises(TypeError):
            token.data["cors-rules"][0]["methods"] = ()

    def test_parametersAndMetadataAreToldApart(self):
        token = make_token(data={"cmd": "./run", "owner": "alice", "https-redirect": True, "metadata": {"a": "b"}})
        self.assertEqual(token.parameters, {"cmd": "./run", "metadata": {"a": "b"}})
        self.assertEqual(token.metadata, {"owner": "alice", "https-redirect": True})

    def test_historyIsNewestFirst_andCanBeCut(self):
        token = None
        for second in range(5):
            token = make_token(updated_at=float(second), previous=token)
        self.assertEqual([version.updated_at for version in token.history()], [4.0, 3.0, 2.0, 1.0, 0.0])
        self.assertEqual([version.updated_at for version in token.with_history(2).history()], [4.0, 3.0, 2.0])
        self.assertEqual(list(token.with_history(0).history()), [attrs.evolve(token, previous=None)])
        self.assertEqual(token.with_history(9), token)
