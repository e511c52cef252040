"""The documents say what is true."""

import json
import runpy
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

SOURCE = Path(__file__).parent.parent


class DocumentsTests(SynchronousTestCase):
    def setUp(self):
        if not (SOURCE / "docs").is_dir():
            raise SkipTest("the documents are not beside the tests")

    def test_configurationIsGeneratedFromTheSettings(self):
        generator = runpy.run_path(str(SOURCE / "docs" / "generate_configuration.py"))
        self.assertEqual(
            (SOURCE / "docs" / "configuration.md").read_text(),
            generator["document"](),
            "run python docs/generate_configuration.py",
        )

    def test_theApiIsGeneratedFromItsDescription(self):
        generator = runpy.run_path(str(SOURCE / "docs" / "generate_api.py"))
        self.assertEqual(
            (SOURCE / "docs" / "api.md").read_text(),
            generator["text"](json.loads(json.dumps(generator["document"]()))),
            "run python docs/generate_api.py",
        )

    def test_everyFileThatADocumentLinksToIsThere(self):
        import re

        for page in [SOURCE / "README.md", *SOURCE.glob("docs/**/*.md")]:
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
                self.assertTrue((page.parent / target).exists(), f"{page.name} links to {target}")
