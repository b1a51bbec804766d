"""Versions against the supported range."""

from __future__ import annotations

import pytest

from latentvr.cli.env import SUPPORTED, judge, package


@pytest.mark.parametrize(
    ("version", "supported"),
    [
        ("5.16.9", False),
        ("5.17.0", True),
        ("5.23.4", True),
        ("5.24.0", False),
        ("5.24.0.dev0", False),
        ("6.0", False),
    ],
)
def test_the_range_of_transformers(version: str, supported: bool) -> None:
    line = judge("transformers", version)
    assert line.supported is supported
    assert ("fix: pip install 'transformers>=5.17,<5.24'" in line.value) is not supported


def test_a_local_build_counts_as_its_version() -> None:
    assert judge("torch", "2.11.0+cu128").supported
    assert not judge("torch", "2.9.1+cpu").supported


def test_a_missing_package_matters_where_a_range_says_so() -> None:
    assert package("no-such-package-here").supported
    assert "no-such-package-here" not in SUPPORTED


@pytest.mark.parametrize("name", sorted(SUPPORTED))
def test_the_installed_versions_are_supported(name: str) -> None:
    assert package(name).supported
