"""L{waiter.catalog.consent}."""

from twisted.trial.unittest import SynchronousTestCase

from waiter.catalog.consent import SERVICE, TOKEN, Consents, Question

QUESTION = Question(token="demo", owner="bob", service_id="s-1")
NEXT_VERSION = Question(token="demo", owner="bob", service_id="s-2")


class ConsentTests(SynchronousTestCase):
    def setUp(self):
        self.now = 1_800_000_000.0
        self.consents = self.made()

    def made(self, secret=b"secret", principal="alice"):
        return Consents(lambda: secret, principal=principal, wall=lambda: self.now, life_secs=100)

    def given(self, question, value, consents=None):
        return (consents or self.consents).given(question, [f"a=b; x-waiter-consent={value}; c=d".encode()])

    def test_whoAgreesToAServiceAgreesToNoOther(self):
        value = self.consents.agree(SERVICE, QUESTION)
        self.assertTrue(self.given(QUESTION, value))
        self.assertFalse(self.given(NEXT_VERSION, value))

    def test_whoAgreesToATokenAgreesToItsVersions_butToNoOtherTokenOrOwner(self):
        value = self.consents.agree(TOKEN, QUESTION)
        self.assertTrue(self.given(NEXT_VERSION, value))
        self.assertFalse(self.given(Question(token="other", owner="bob", service_id="s-1"), value))
        self.assertFalse(self.given(Question(token="demo", owner="eve", service_id="s-1"), value))

    def test_itHoldsForSomeTimeOnly(self):
        value = self.consents.agree(TOKEN, QUESTION)
        self.now += 99
        self.assertTrue(self.given(QUESTION, value))
        self.now += 1
        self.assertFalse(self.given(QUESTION, value))
        self.now -= 300
        self.assertFalse(self.given(QUESTION, value))

    def test_whoDoesNotKnowTheSecretCannotWriteIt_norUseThatOfAnother(self):
        for others in (self.made(secret=b"guess"), self.made(principal="eve")):
            self.assertFalse(self.given(QUESTION, others.agree(TOKEN, QUESTION)))

    def test_whatIsNoneIsNone(self):
        value = self.consents.agree(TOKEN, QUESTION)
        for wrong in ("", "x", "é", "AAAA", value[:-8], "B" + value, "A" * 5000, '["token", 1, "demo", "bob"]'):
            self.assertIsNone(self.consents.read(wrong.encode()), wrong)
        self.assertFalse(self.consents.given(QUESTION, []))
        self.assertFalse(self.consents.given(QUESTION, [f"y-waiter-consent={value}".encode()]))

    def test_ofSeveralOneIsEnough(self):
        value = self.consents.agree(TOKEN, QUESTION)
        self.assertTrue(self.consents.given(QUESTION, [b"x-waiter-consent=x", f"x-waiter-consent={value}".encode()]))
