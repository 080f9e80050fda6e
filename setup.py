"""The build script of KPIggyBank; the settings of the tools live in pyproject.toml."""

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent


def read_version() -> str:
    """The package's `__version__`, read as text: to build is no reason to import the product."""
    source = (HERE / "kpiggybank" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    if match is None:
        raise RuntimeError('kpiggybank/__init__.py holds no line __version__ = "..."')
    return match.group(1)


setup(
    name="kpiggybank",
    version=read_version(),
    description="A Twisted daemon that keeps KPI events: post them, query them, follow them live",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MPL-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Framework :: Twisted",
        "Intended Audience :: Developers",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Internet :: WWW/HTTP",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    # Every package by name: a search would take tests along, and would miss twisted.plugins,
    # which must have no __init__.py (it is a folder of Twisted's own package).
    packages=[
        "kpiggybank",
        "kpiggybank.outgoing",
        "kpiggybank.stores",
        "kpiggybank.stores.couchdb",
        "kpiggybank.stores.sqlite",
        "kpiggybank.web",
        "twisted.plugins",
    ],
    # Said although it is the default: with it, an editable install is a plain line in a .pth file.
    # Without it setuptools installs an import hook, and Twisted, which looks for plugins in the
    # folders of sys.path, finds none.
    package_dir={"": "."},
    entry_points={
        "console_scripts": [
            "kpiggybank-backup = kpiggybank.backup:main",
            "kpiggybank-check = kpiggybank.check:main",
        ],
    },
    package_data={
        "kpiggybank": ["py.typed"],
        "kpiggybank.stores.sqlite": ["schema.sql"],
        "kpiggybank.web": ["docs/*", "page/*", "page/uplot/*"],
        "kpiggybank.stores.couchdb": ["by_time.js"],
    },
    include_package_data=False,
    zip_safe=False,
    install_requires=[
        "twisted[tls]>=26.4,<27",
        "klein>=24.8,<28",
        "treq>=25.5,<28",
        "attrs>=25.1,<28",
        "msgspec>=0.20,<1",
        "apsw>=3.51,<4",
        "zlib-ng>=1,<2",
        "prometheus-client>=0.22,<1",
    ],
    extras_require={
        "dev": [
            "build>=1.3,<2",
            "hypothesis>=6.150,<7",
            "mypy>=2.4,<3",
            "mypy-zope>=1.0.17,<2",
            "openapi-spec-validator>=0.9,<0.10",
            "playwright>=1.55,<2",
            "pytest>=9,<10",
            "pytest-twisted>=1.14.3,<2",
            # What ruff finds and how it formats changes with its minor version.
            "ruff>=0.17,<0.18",
            "schemathesis>=4.32,<5",
        ],
    },
)
