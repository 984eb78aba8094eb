"""Captured output keeps its head and its tail."""

import pytest

from worker.excerpt import Excerpt


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([b"short"], "short"),
        ([b"0123456789"], "0123456789"),
        ([b"0123456789a"], "01234\n[... 1 bytes left out ...]\n6789a"),
        ([b"0123", b"4567", b"89ab", b"cdef"], "01234\n[... 6 bytes left out ...]\nbcdef"),
        ([b"0123456789abcdef" * 10], "01234\n[... 150 bytes left out ...]\nbcdef"),
        ([b"\xff"], "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_an_excerpt_keeps_both_ends(parts: list[bytes], text: str) -> None:
    excerpt = Excerpt(10)
    for part in parts:
        excerpt.add(part)
    assert excerpt.text() == text
