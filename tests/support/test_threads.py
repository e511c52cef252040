import threading

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from waiter.support.threads import in_thread


class InThreadTests(TestCase):
    async def test_theResultComesFromAnotherThread(self):
        thread, total = await in_thread(reactor, lambda a, b: (threading.get_ident(), a + b), 3, 4)
        self.assertNotEqual(thread, threading.get_ident())
        self.assertEqual(total, 7)

    async def test_whatItRaisesArrives(self):
        with self.assertRaises(ZeroDivisionError):
            await in_thread(reactor, lambda: 1 // 0)
