"""Prose that a command wrapped, as one line."""


def unwrap(text: str) -> str:
    """Return what was printed as one line, so that parts of it can be looked for."""
    return " ".join(text.split())
