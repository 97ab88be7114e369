"""What axe is asked of a page in one colour scheme."""

from typing import Any


def choose_rules(scheme: str) -> dict[str, Any]:
    """All rules in the light scheme; in the dark one those about colour, as nothing else differs.

    What axe would fetch, the pages forbid.
    """
    about_colour = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
    return {"preload": False} | (about_colour if scheme == "dark" else {})
