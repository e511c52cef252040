"""L{waiter.model.patterns}."""

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from waiter.model.patterns import Pattern

ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", r"\.", "[a-c1]", "", "^", "$", "(?i:A)", r"\Z"])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "{2}", "{1,3}", "{0,2}?", "{2,}"])).map(
            lambda two: f"({two[0]}){two[1]}"
        ),
    ),
    max_leaves=8,
)


class PatternTests(SynchronousTestCase):
    @given(PATTERNS, st.text("abA1.", max_size=6))
    def test_itMatchesWhatPythonDoes(self, pattern, text):
        self.assertEqual(Pattern(pattern).matches(text), re.fullmatch(pattern, text) is not None)

    def test_usualOnes(self):
        pattern = Pattern(r"https?://([a-z0-9-]+\.)*friend\.example(:\d+)?")
        for text in ("http://friend.example", "https://a.b-c.friend.example:8080"):
            self.assertTrue(pattern.matches(text), text)
        for text in ("http://notfriend.example", "https://friend.example:", "https://friend.example.evil", ""):
            self.assertFalse(pattern.matches(text), text)
        self.assertTrue(Pattern("(?i)HTTP://É[^B]").matches("http://éa"))
        self.assertFalse(Pattern("(?i)[^B]").matches("b"))

    def test_whatPythonWouldTryForHoursTakesAMoment(self):
        for pattern in ("(a+)+b", "(a|a)*b", "(a|aa)+b", "(.*)*b", "a*" * 40 + "b"):
            compiled = Pattern(pattern)
            self.assertFalse(compiled.matches("a" * 4000))
            self.assertTrue(compiled.matches("a" * 4000 + "b"))

    def test_soIsWhatRepeatsNothingManyTimes(self):
        self.assertTrue(Pattern("(" * 30 + "){500}" * 30 + "a").matches("a"))

    def test_charactersBeyondLatin1AreNone(self):
        self.assertFalse(Pattern("a|€").matches("€"))

    def test_itRemembersLittle(self):
        pattern = Pattern(".*a" + ".?" * 100)
        for number in range(200):
            pattern.matches(f"{number:b}".translate({48: "a", 49: "b"}) * 20)
        self.assertLess(sum(1 + len(states) for states in pattern._known.values()), 10_200)

    def test_veryLongTextsAreNotMeant(self):
        self.assertFalse(Pattern("a*").matches("a" * 5000))

    def test_whatCannotBeDoneSoIsRefused(self):
        for pattern in (
            "(",
            "*",
            r"(a)\1",
            "(?=a)b",
            "(?<!a)b",
            r"\ba",
            "(?m)^a",
            "(?x)a b",
            "(?>a)b",
            "a*+",
            "(a)?(?(1)b|c)",
            "a{501}",
            "a{0,501}",
            "(a{99}){99}",
            "(" * 200 + "a" + "){4}" * 200,
            "a{4294967296}",
        ):
            self.assertRaises(ValueError, Pattern, pattern)
