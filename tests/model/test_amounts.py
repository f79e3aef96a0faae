"""Limits as people type them."""

from __future__ import annotations

import pytest

from sockrec.errors import UsageError
from sockrec.model import amounts


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("5%", 0.05),
        (" 0.5 % ", 0.005),
        ("100%", 1.0),
        ("250%", 2.5),
        ("400%", 4.0),
        ("0", None),
        ("0%", None),
        ("off", None),
        ("OFF", None),
    ],
)
def test_a_share_of_a_core(text: str, share: float | None) -> None:
    assert amounts.parse_share(text, cores=4) == (pytest.approx(share) if share else None)


@pytest.mark.parametrize(
    "text", ["", "5", "0.05", "%", "-5%", "5%%", "0.0%", "5 percent", "1e1%", "nan%", "on"]
)
def test_what_is_not_a_share_is_said_with_what_is(text: str) -> None:
    with pytest.raises(UsageError, match="write it as 5%"):
        amounts.parse_share(text, cores=4)


def test_a_share_of_more_than_there_is_says_how_much_there_is() -> None:
    with pytest.raises(UsageError, match=r"401%.*400%"):
        amounts.parse_share("401%", cores=4)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("512MiB", 512 << 20),
        ("1GiB", 1 << 30),
        ("1 gib", 1 << 30),
        ("0.5G", 1 << 29),
        ("300M", 300 << 20),
        ("64k", 64 << 10),
        ("1T", 1 << 40),
        ("512MB", 512_000_000),
        ("1.5GB", 1_500_000_000),
        ("2kB", 2_000),
        ("70000000B", 70_000_000),
        ("0", None),
        ("off", None),
    ],
)
def test_an_amount_of_memory(text: str, count: int | None) -> None:
    assert amounts.parse_bytes(text) == count


@pytest.mark.parametrize(
    "text", ["", "512", "1 GiB more", "-1GiB", "0MiB", "MiB", "1XiB", "1e9B", "5%", "none"]
)
def test_what_is_not_an_amount_is_said_with_what_is(text: str) -> None:
    with pytest.raises(UsageError, match="write it as 512MiB"):
        amounts.parse_bytes(text)
