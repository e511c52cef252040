"""Whole lives of services on a simulated clock, with the real reservation."""

from twisted.trial.unittest import SynchronousTestCase

from tests.autoscaler.support import service
from tests.autoscaler.world import World

QUICK = {"scale_up_factor": 0.9, "scale_down_factor": 0.9, "idle_timeout_mins": 0.2}


class Demo(SynchronousTestCase):
    """The README's demonstration: short factors and timeouts, one minute."""

    def setUp(self):
        self.service = service(**QUICK)
        self.world = World(self.service, start_secs=0.2, lag_secs=0.005).start()

    def test_one_minute(self):
        """Twenty clients make it scale out within two seconds; without them it shrinks, and then it is gone."""
        world = self.world
        clients = [world.client(self.service, request_secs=0.1) for _ in range(20)]
        world.run(0.05)
        self.assertEqual(world.requested(self.service), 1)
        world.run(2.5)
        self.assertGreaterEqual(len(world.running(self.service)), 18)
        world.run(8)
        self.assertTrue(18 <= len(world.running(self.service)) <= 20)
        self.assertTrue(all(client.served > 50 for client in clients))

        for client in clients:
            client.stop()
        world.run(4)
        self.assertEqual(len(world.running(self.service)), 1)
        world.run(9)
        self.assertIsNone(world.requested(self.service))
        self.assertEqual(world.errors, [])
        self.assertEqual(len(world.killed), len(set(world.killed)))

    def test_again(self):
        """After it is gone, the next request starts it anew, and so on."""
        world = self.world
        for _ in range(3):
            client = world.client(self.service, request_secs=0.1, requests=1)
            world.run(0.5)
            self.assertEqual(client.served, 1)
            world.run(14)
            self.assertIsNone(world.requested(self.service))
        self.assertEqual(len(world.calls("create")), 3)

    def test_steady(self):
        """Under a steady load the number of instances is steady, too."""
        world = self.world
        for _ in range(10):
            world.client(self.service, request_secs=0.5)
        world.run(10)
        before = world.running(self.service)
        calls = len(world.calls("scale", "kill"))
        world.run(20)
        self.assertEqual(world.running(self.service), before)
        self.assertEqual(len(world.calls("scale", "kill")), calls)

    def test_slow_news(self):
        """With a routing state that is seconds old nothing is done twice: it neither overshoots nor shrinks below one."""
        world = World(self.service, start_secs=0.2, lag_secs=3).start()
        clients = [world.client(self.service, request_secs=0.1) for _ in range(8)]
        seen = []
        for _ in range(20):
            world.run(1)
            seen.append(world.requested(self.service))
        self.assertLessEqual(max(seen), 9)
        self.assertGreaterEqual(seen[-1], 7)
        for client in clients:
            client.stop()
        for _ in range(9):
            world.run(1)
            self.assertGreaterEqual(world.requested(self.service) or 1, 1)
            self.assertEqual(world.requested(self.service), len(world.running(self.service)))
        self.assertEqual(world.errors, [])


class Bounds(SynchronousTestCase):
    def test_minimum_and_maximum(self):
        """It has never fewer than its minimum, from the first moment on, and never more than its maximum."""
        wanted = service(**{**QUICK, "min_instances": 2, "max_instances": 5})
        world = World(wanted, start_secs=0.1).start()
        clients = [world.client(wanted, request_secs=0.1) for _ in range(20)]
        world.run(0.05)
        self.assertEqual(world.requested(wanted), 2)
        seen = set()
        for _ in range(60):
            world.run(0.1)
            seen.add(world.requested(wanted))
        self.assertEqual(max(seen), 5)
        for client in clients:
            client.stop()
        for _ in range(60):
            world.run(0.1)
            seen.add(world.requested(wanted))
        self.assertEqual(world.requested(wanted), 2)
        self.assertEqual((min(seen), max(seen)), (2, 5))

    def test_concurrency_level(self):
        """With three requests per instance, nine clients get exactly three instances, and afterwards one is left."""
        wanted = service(**QUICK, concurrency_level=3)
        world = World(wanted, start_secs=0.1).start()
        clients = [world.client(wanted, request_secs=0.3) for _ in range(9)]
        world.run(8)
        self.assertEqual(world.requested(wanted), 3)
        for client in clients:
            client.stop()
        world.run(4)
        self.assertEqual(world.requested(wanted), 1)

    def test_scale_factor(self):
        """With a scale factor of 0.3, ten clients get three instances."""
        wanted = service(**QUICK, scale_factor=0.3)
        world = World(wanted, start_secs=0.1).start()
        for _ in range(10):
            world.client(wanted, request_secs=0.3)
        world.run(8)
        self.assertEqual(world.requested(wanted), 3)

    def test_no_minimum(self):
        """With a minimum of zero the last instance goes soon after the load, and a request brings one back at once."""
        wanted = service(scale_up_factor=0.001, scale_down_factor=0.9, min_instances=0)
        world = World(wanted, start_secs=0.1).start()
        client = world.client(wanted, request_secs=0.1, requests=1)
        world.run(0.3)
        self.assertEqual(client.served, 1)
        world.run(5)
        self.assertEqual((world.requested(wanted), world.running(wanted)), (0, []))
        client = world.client(wanted, request_secs=0.1, requests=1)
        world.run(0.02)
        self.assertEqual(world.requested(wanted), 1)
        world.run(0.3)
        self.assertEqual(client.served, 1)

    def test_never_healthy(self):
        """A service whose instances never become healthy scales out with the requests that wait, and in again."""
        wanted = service(**QUICK)
        world = World(wanted, start_secs=None).start()
        clients = [world.client(wanted, request_secs=0.1) for _ in range(5)]
        world.run(4)
        self.assertEqual(world.requested(wanted), 5)
        for client in clients:
            client.waiting.cancel()
        world.run(4)
        self.assertEqual(world.requested(wanted), 1)


class Kills(SynchronousTestCase):
    def test_never_a_busy_one(self):
        """Instances with long requests stay while all others go."""
        wanted = service(**QUICK)
        world = World(wanted, start_secs=0.1).start()
        short = [world.client(wanted, request_secs=0.1) for _ in range(10)]
        world.run(5)
        long = [world.client(wanted, request_secs=30, requests=1) for _ in range(4)]
        for client in short:
            client.stop()
        world.run(8)
        busy = {instance_id for client in long for instance_id in client.instances}
        self.assertEqual(len(busy), 4)
        self.assertEqual(set(world.running(wanted)), busy)
        world.run(30)
        self.assertEqual([client.served for client in long], [1, 1, 1, 1])
        self.assertEqual(world.errors, [])

    def test_expired_one_is_replaced(self):
        """An expired instance is stopped only after its replacement serves, and no request fails."""
        wanted = service(**QUICK)
        world = World(wanted, start_secs=0.5, lag_secs=0.005).start()
        world.client(wanted, request_secs=0.1)
        world.run(3)
        (old,) = world.running(wanted)
        world.expire(old)
        seen = []
        for _ in range(100):
            world.run(0.1)
            seen.append(len(world.running(wanted)))
        self.assertEqual(world.killed, [old])
        self.assertEqual((min(seen), max(seen), seen[-1]), (1, 2, 1))
        self.assertEqual(world.errors, [])

    def test_slow_ends(self):
        """Instances that take long to end do not keep the others from being stopped."""
        wanted = service(**{**QUICK, "scale_down_factor": 0.5, "termination_grace_period_secs": 60})
        world = World(wanted, start_secs=0.1, kill_secs=50).start()
        clients = [world.client(wanted, request_secs=0.1) for _ in range(16)]
        world.run(5)
        for client in clients:
            client.stop()
        world.run(7)
        self.assertEqual(len(world.running(wanted)), 1)
        self.assertEqual(world.killed, [])
        world.run(60)
        self.assertEqual(len(world.killed), 16)
        self.assertEqual(world.errors, [])

    def test_all_expired(self):
        """When all instances expire, the surge stays within the restart rate, and in the end all are replaced."""
        wanted = service(**{**QUICK, "min_instances": 10, "expired_instance_restart_rate": 0.2})
        world = World(wanted, start_secs=0.5, lag_secs=0.005).start()
        world.client(wanted, request_secs=0.1)
        world.run(3)
        old = world.running(wanted)
        self.assertEqual(len(old), 10)
        for instance_id in old:
            world.expire(instance_id)
        seen = []
        for _ in range(300):
            world.run(0.1)
            seen.append(world.requested(wanted))
        self.assertEqual(set(world.running(wanted)) & set(old), set())
        self.assertEqual((min(seen), max(seen), seen[-1]), (10, 12, 10))
        self.assertEqual(world.errors, [])

    def test_surge_is_limited(self):
        """The autoscaler's own limit on the surge holds against a higher restart rate."""
        wanted = service(**{**QUICK, "min_instances": 10, "expired_instance_restart_rate": 1})
        world = World(wanted, start_secs=0.5, autoscaler={"max_surge": 3}).start()
        world.client(wanted, request_secs=0.1)
        world.run(3)
        for instance_id in world.running(wanted):
            world.expire(instance_id)
        seen = []
        for _ in range(300):
            world.run(0.1)
            seen.append(world.requested(wanted))
        self.assertEqual((min(seen), max(seen), seen[-1]), (10, 13, 10))
