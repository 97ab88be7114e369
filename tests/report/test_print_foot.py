"""The foot of printed pages is made of digests alone, since it is part of a stylesheet."""

import pytest

from imgaudit.report.print_foot import style_print_foot


def test_both_digests_are_printed() -> None:
    assert 'content: "Image SHA-256 cd\\A Model ab"' in style_print_foot("ab", "cd")
    assert style_print_foot("ab", "cd", "exhibit2").startswith("@page exhibit2 {")


@pytest.mark.parametrize("hostile", ['"; } body { display: none', "</style><script>", "\\", "AB", ""])
def test_what_is_no_digest_is_left_out(hostile: str) -> None:
    assert style_print_foot(hostile) == '@page { @bottom-left { content: "imgaudit"; white-space: pre; } }'
