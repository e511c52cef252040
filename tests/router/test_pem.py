"""Certificates and keys in PEM files."""

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority
from waiter.router.pem import BadPEM, by_name, certificates_in, keys_in, pair_in_order, pairs_among

ROOT = Authority("Root")
MIDDLE = Authority("Middle", above=ROOT)
NAMESAKE = Authority("Middle", above=ROOT)


class ReadingTests(SynchronousTestCase):
    def test_whatIsInAFile(self):
        """A file may have anything in any order, and words between."""
        one, other = ROOT.issue("a"), ROOT.issue("b")
        data = b"\n".join((b"words", one.key_pem, one.pem, b"more words", other.pem, b"-----BEGIN DH PARAMETERS-----"))
        self.assertEqual(certificates_in(data, "x"), [one.certificate, other.certificate])
        self.assertEqual(len(keys_in(data, "x")), 1)

    def test_whatCannotBeRead(self):
        """What cannot be read is said with the file's name."""
        issued = ROOT.issue("a")
        bad = issued.pem.replace(b"MII", b"AAA", 1)
        problem = self.assertRaises(BadPEM, certificates_in, bad, "/etc/x.pem")
        self.assertIn("/etc/x.pem has a certificate that cannot be read", str(problem))
        bad = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"
        problem = self.assertRaises(BadPEM, keys_in, bad, "/etc/x.pem")
        self.assertIn("/etc/x.pem has a key that cannot be read", str(problem))

    def test_aKeyWithAPassword(self):
        """A key locked by a password is not asked for; what to do instead is said."""
        key = ROOT.issue("a").key
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            locked = key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"x"))
            problem = self.assertRaises(BadPEM, keys_in, locked, "/etc/x.pem")
            self.assertIn("locked by a password", str(problem))


class PairTests(SynchronousTestCase):
    def test_inOrder(self):
        """The first certificate is the server's, and the others lead to the authority."""
        issued = MIDDLE.issue("a")
        pair = pair_in_order([issued.certificate, MIDDLE.certificate], [issued.key], "c", "k")
        self.assertEqual((pair.certificate, pair.chain), (issued.certificate, (MIDDLE.certificate,)))

    def test_whatDoesNotBelongTogether(self):
        """What does not belong together is refused with the names of the files."""
        one, other = ROOT.issue("a"), ROOT.issue("b")
        for certificates, keys, words in (
            ([], [one.key], "/c has no certificate"),
            ([one.certificate], [], "/k has no private key"),
            ([one.certificate], [other.key], "the key in /k is not that of the first certificate in /c"),
            ([ROOT.certificate, one.certificate], [one.key], "the key in /k is not that of the first"),
        ):
            problem = self.assertRaises(BadPEM, pair_in_order, certificates, keys, "/c", "/k")
            self.assertIn(words, str(problem))

    def test_amongMany(self):
        """Among many, each certificate finds its key, and its chain without the root, whatever else is there."""
        one, other, keyless = MIDDLE.issue("a"), ROOT.issue("b"), ROOT.issue("c")
        everything = [NAMESAKE, ROOT, one, MIDDLE, other, keyless, one]
        pairs = pairs_among([each.certificate for each in everything], [other.key, one.key, Authority().key])
        self.assertEqual(
            [(pair.certificate, pair.chain) for pair in pairs],
            [(one.certificate, (MIDDLE.certificate,)), (other.certificate, ())],
        )

    def test_names(self):
        """A certificate is for its alternative names; where it has none, for its common name."""
        (pair,) = pairs_among([(issued := ROOT.issue("A.example", "*.b.example")).certificate], [issued.key])
        self.assertEqual(pair.names, ("a.example", "*.b.example"))
        (pair,) = pairs_among([(issued := ROOT.issue(common_name="c.example")).certificate], [issued.key])
        self.assertEqual(pair.names, ("c.example",))

    def test_theOneThatIsValidLongest(self):
        """Of several certificates for a name the one that is valid longest is taken, the same key or not."""
        old = ROOT.issue("a", "b", days=-1)
        new = ROOT.issue("a", days=10, key=old.key)
        newest = ROOT.issue("a", days=20)
        three = (old, newest, new)
        pairs = pairs_among([each.certificate for each in three], [each.key for each in three])
        chosen = by_name(pairs)
        self.assertEqual(chosen["a"].certificate, newest.certificate)
        self.assertEqual(chosen["b"].certificate, old.certificate)
