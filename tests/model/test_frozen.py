"""L{waiter.model.frozen}."""

import copy
import json
import pickle

from twisted.trial.unittest import SynchronousTestCase

from waiter.model.frozen import FrozenDict


class FrozenDictTests(SynchronousTestCase):
    def setUp(self):
        self.frozen = FrozenDict({"a": "1", "b": "2"})

    def test_itIsADict(self):
        self.assertEqual(self.frozen, {"b": "2", "a": "1"})
        self.assertEqual(json.loads(json.dumps(self.frozen)), {"a": "1", "b": "2"})

    def test_nothingChangesIt(self):
        def set_item():
            self.frozen["a"] = "3"

        def delete_item():
            del self.frozen["a"]

        def update_in_place():
            self.frozen |= {"a": "3"}

        changes = [
            set_item,
            delete_item,
            update_in_place,
            self.frozen.clear,
            lambda: self.frozen.pop("a"),
            self.frozen.popitem,
            lambda: self.frozen.setdefault("c", "3"),
            lambda: self.frozen.update(a="3"),
        ]
        for change in changes:
            with self.assertRaises(TypeError):
                change()
        self.assertEqual(self.frozen, {"a": "1", "b": "2"})

    def test_equalOnesHaveEqualHashes(self):
        self.assertEqual(hash(self.frozen), hash(FrozenDict({"b": "2", "a": "1"})))
        self.assertNotEqual(hash(self.frozen), hash(FrozenDict({"a": "1"})))

    def test_copiesAndPicklesAreEqual(self):
        pickled = pickle.loads(pickle.dumps(self.frozen))  # noqa: S301 - written by this test
        for other in (copy.copy(self.frozen), copy.deepcopy(self.frozen), pickled):
            self.assertEqual(other, self.frozen)
            self.assertIsInstance(other, FrozenDict)

    def test_aUnionIsANewOne(self):
        union = self.frozen | {"b": "3"}
        self.assertEqual(union, {"a": "1", "b": "3"})
        self.assertIsInstance(union, FrozenDict)
        self.assertEqual(self.frozen["b"], "2")
