"""Packaging of Waiter; tools are configured in pyproject.toml."""

from pathlib import Path
from runpy import run_path

from setuptools import find_namespace_packages, setup

HERE = Path(__file__).parent

setup(
    name="txwaiter",
    version=run_path(str(HERE / "waiter" / "version.py"))["__version__"],
    description="Runs HTTP services that nobody had to deploy",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=[*find_namespace_packages(include=["waiter", "waiter.*"]), "twisted.plugins"],
    package_data={"waiter": ["py.typed"]},
    entry_points={"console_scripts": ["waiter-instances=waiter.instances:run"]},
    # Waiter is one importable folder plus plugin files that twistd reads from disk.
    zip_safe=False,
    install_requires=[
        # 26.10 closes seven CVEs, three of them in HTTP parsing.
        "twisted[tls]>=26.10",
        "treq>=26.7",
        "service-identity>=24.2",
        "klein>=24.8",
        "attrs>=25.1",
        # validate_by_name and validate_by_alias came with 2.11.
        "pydantic>=2.11",
        # 0.7 brought llhttp 9, whose header rules the data path relies on.
        "httptools>=0.7",
        "uvloop>=0.22; platform_python_implementation == 'CPython' and sys_platform != 'win32'",
        "psutil>=6",
        "prometheus-client>=0.21",
        "rfc8785>=0.1.4",
        "zope.interface>=7",
        "cryptography>=42",
        # Imported only where ZooKeeper is used.
        "kazoo>=2.11",
    ],
    extras_require={
        "test": [
            "h11>=0.16",
            "aiohttp>=3.11",
            "hypothesis>=6.100",
            "gunicorn>=23",
            "websockets>=14",
            "marathon>=0.13",
            "openapi-spec-validator>=0.7.1",
            "jsonschema>=4.23",
        ],
        # The applications that tests/integration/test_differential.py compares with themselves.
        "differential": ["datasette>=0.65", "httpbin>=0.10", "pypiserver>=2.3", "radicale>=3.3"],
        "lint": ["ruff>=0.14", "mypy>=1.18", "mypy-zope>=1.0.14", "types-psutil", "build"],
    },
    classifiers=[
        "Framework :: Twisted",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Internet :: Proxy Servers",
    ],
)
