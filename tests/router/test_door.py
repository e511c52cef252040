from ipaddress import IPv6Address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.router.door import Door, group_of, share_of
from waiter.telemetry.counters import RouterMetrics


class DoorTests(SynchronousTestCase):
    def test_itIsFullFromTheMostOnAndNotBelow(self):
        door = Door(most=2)
        told = []
        door.watch(told.append)
        door.came("a")
        self.assertEqual((door.full, told), (False, []))
        door.came("b")
        door.came("c")
        self.assertEqual((door.full, told), (True, [True]))
        door.went(None)
        self.assertTrue(door.full)
        door.went(None)
        self.assertEqual((door.full, told, door.open), (False, [True, False], 1))

    def test_withoutABoundItIsNeverFull(self):
        door = Door()
        for _ in range(1000):
            door.came("a")
        self.assertFalse(door.full)

    def test_aNewBoundHoldsAtOnce(self):
        door = Door()
        door.came("a")
        told = []
        door.watch(told.append)
        door.limit(1)
        door.limit(2)
        self.assertEqual(told, [True, False])

    def test_aClientWithEnoughConnectionsIsNotWelcome(self):
        numbers = RouterMetrics()
        door = Door(most_per_address=2, numbers=numbers)
        groups = [door.came("192.0.2.1"), door.came("192.0.2.1")]
        self.assertEqual((door.welcomes("192.0.2.1"), door.welcomes("192.0.2.2")), (False, True))
        self.assertEqual(numbers.refused_total, 1)
        door.went(groups.pop())
        self.assertTrue(door.welcomes("192.0.2.1"))
        door.went(groups.pop())
        self.assertEqual(door._of, {})

    def test_connectionsWithoutAnAddressDoNotCountForOne(self):
        door = Door(most_per_address=1)
        for _ in range(5):
            self.assertTrue(door.welcomes(None))
            door.came(None)
        self.assertEqual(door.open, 5)

    @given(st.lists(st.sampled_from(["192.0.2.1", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", None]), max_size=30))
    def test_whenAllAreGoneNothingIsKept(self, hosts):
        door = Door(most=3, most_per_address=2)
        groups = [door.came(host) for host in hosts]
        self.assertEqual(door.full, len(hosts) >= 3)
        for group in groups:
            door.went(group)
        self.assertEqual((door.open, door.full, door._of), (0, False, {}))


class GroupTests(SynchronousTestCase):
    def test_whoHasAnIPv6AddressHasItsNetwork(self):
        self.assertEqual(group_of("2001:db8:1:2::1"), group_of("2001:db8:1:2:ffff::9"))
        self.assertNotEqual(group_of("2001:db8:1:2::1"), group_of("2001:db8:1:3::1"))
        self.assertEqual(group_of("fe80::1%eth0"), group_of("fe80::2"))

    def test_anIPv4AddressIsTheSameInIPv6(self):
        self.assertEqual(group_of("::ffff:192.0.2.1"), "192.0.2.1")
        self.assertEqual(group_of("192.0.2.1"), "192.0.2.1")

    def test_noAddressIsNone(self):
        self.assertIsNone(group_of(None))
        self.assertEqual(group_of("not:an:address"), "not:an:address")

    @given(st.integers(min_value=0, max_value=2**128 - 1), st.integers(min_value=0, max_value=2**64 - 1))
    def test_theSecondHalfNeverMatters(self, address, other):
        first = IPv6Address(address)
        second = IPv6Address((address >> 64 << 64) | other)
        if first.ipv4_mapped is None and second.ipv4_mapped is None:
            self.assertEqual(group_of(str(first)), group_of(str(second)))


class ShareTests(SynchronousTestCase):
    def test_halfIsForInstances(self):
        self.assertEqual(share_of(20000), 9872)
        self.assertEqual(share_of(1024), 384)

    @given(st.integers(min_value=1, max_value=1 << 20))
    def test_thereIsAlwaysRoomForTheRest(self, files):
        share = share_of(files)
        self.assertGreaterEqual(share, 1)
        if files > 2:
            self.assertLess(2 * share, files)
