import resource

from twisted.trial.unittest import SynchronousTestCase

from waiter.support import limits


class RaiseOpenFilesLimitTests(SynchronousTestCase):
    def setUp(self):
        self.limits = (1024, 4096)
        self.patch(resource, "getrlimit", lambda _: self.limits)
        self.patch(resource, "setrlimit", self.setrlimit)

    def setrlimit(self, _, limits):
        self.limits = limits

    def test_itIsRaisedToWhatIsAllowed(self):
        self.assertEqual(limits.raise_open_files_limit(), (1024, 4096))
        self.assertEqual(self.limits, (4096, 4096))

    def test_whereAllIsAllowedEnoughIsTaken(self):
        for hard in (resource.RLIM_INFINITY, 1 << 30):
            self.limits = (1024, hard)
            self.assertEqual(limits.raise_open_files_limit(), (1024, limits.ENOUGH))
            self.assertEqual(self.limits, (limits.ENOUGH, hard))

    def test_itIsNeverLowered(self):
        for soft in (1 << 21, resource.RLIM_INFINITY):
            self.limits = (soft, resource.RLIM_INFINITY)
            self.assertEqual(limits.raise_open_files_limit(), (soft, soft))
            self.assertEqual(self.limits[0], soft)

    def test_whenItIsRefusedAllStaysAsItWas(self):
        def refuse(*_):
            raise ValueError("not allowed to raise maximum limit")

        self.patch(resource, "setrlimit", refuse)
        self.assertEqual(limits.raise_open_files_limit(), (1024, 1024))
