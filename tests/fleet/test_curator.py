"""L{waiter.fleet.curator} and L{waiter.fleet.nodes}."""

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.fleet.curator import RouterNode
from waiter.fleet.nodes import parse_connect_string

NODE = RouterNode(
    cluster="research", router_id="r1", address="10.0.0.1", port=9091, fqdn="host.example", registered_at=1700000000.25
)


class RouterNodeTests(SynchronousTestCase):
    def test_itIsWrittenAsCuratorWritesIt(self):
        written = json.loads(NODE.encode())
        spec = written.pop("uriSpec")
        self.assertEqual(
            written,
            {
                "name": "research",
                "id": "r1",
                "address": "10.0.0.1",
                "port": 9091,
                "sslPort": None,
                "payload": {"router-fqdn": "host.example", "router-ssl-port": None},
                "registrationTimeUTC": 1700000000250,
                "serviceType": "DYNAMIC",
            },
        )
        self.assertEqual(
            "".join(f"{{{part['value']}}}" if part["variable"] else part["value"] for part in spec["parts"]),
            "{scheme}://{address}:{port}/{endpoint}",
        )

    @given(
        st.builds(
            RouterNode,
            cluster=st.text(),
            router_id=st.text(),
            address=st.sampled_from(["10.0.0.1", "host", "::1"]),
            port=st.integers(1, 65535),
            fqdn=st.text(min_size=1),
            registered_at=st.integers(0, 2**40).map(lambda ms: ms / 1000),
        )
    )
    def test_whatIsWrittenIsReadAgain(self, node):
        self.assertEqual(RouterNode.decode(node.encode()), node)

    def test_addressesBecomeURLs(self):
        import attrs

        self.assertEqual(NODE.url, "http://10.0.0.1:9091/")
        self.assertEqual(attrs.evolve(NODE, address="fe80::1").url, "http://[fe80::1]:9091/")

    def test_whatOthersWriteIsReadWithWhatItHas(self):
        data = {"name": "c", "id": "r", "address": "h", "port": "80", "payload": None, "enabled": True}
        node = RouterNode.decode(json.dumps(data).encode())
        self.assertEqual((node.url, node.fqdn, node.registered_at), ("http://h:80/", "h", 0.0))

    def test_whatIsNoRouterIsRefused(self):
        whole = {"name": "c", "id": "r", "address": "h", "port": 80}
        for wrong in (
            b"",
            b"\xff",
            b"[]",
            b"7",
            b"null",
            json.dumps({**whole, "port": 0}).encode(),
            json.dumps({**whole, "port": None}).encode(),
            json.dumps({**whole, "address": ""}).encode(),
            *(json.dumps({key: whole[key] for key in whole if key != left_out}).encode() for left_out in whole),
        ):
            with self.assertRaises(ValueError, msg=wrong):
                RouterNode.decode(wrong)


class ConnectStringTests(SynchronousTestCase):
    def test_hostsAndPathAreTakenApart(self):
        for text, expected in (
            ("zk", ("zk", "")),
            ("zk1:2181, zk2:2181", ("zk1:2181,zk2:2181", "")),
            ("zk:2181/", ("zk:2181", "")),
            ("zk:2181/a/b/", ("zk:2181", "/a/b")),
            ("[::1]:2181,[::1]/x", ("[::1]:2181,[::1]", "/x")),
        ):
            self.assertEqual(parse_connect_string(text), expected)

    def test_whatIsNoneIsRefused(self):
        for text in ("", ",", "zk:", "zk:abc", "zk:0", "zk:70000", "/a", "a b:1", "zk//a//b"):
            with self.assertRaises(ValueError, msg=text):
                parse_connect_string(text)
