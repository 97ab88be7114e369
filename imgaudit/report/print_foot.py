"""The foot of every printed page of a document: which image it is about, and which model was asked."""

import re


def style_print_foot(fingerprint: str, sha256: str = "", page: str = "") -> str:
    """Return a rule for the stylesheet of a document that prints the digests at the foot of its pages.

    fingerprint:  of the model
    sha256:       of the image; empty on pages about all images
    page:         name of the pages that it is for, in CSS; all pages without one
    Anything that is no hexadecimal digest is left out, since it would be part of a stylesheet.

    >>> print(style_print_foot("ab12"))
    @page { @bottom-left { content: "Model ab12"; white-space: pre; } }
    """
    named = [("Image SHA-256", sha256), ("Model", fingerprint)]
    lines = [f"{name} {digest}" for name, digest in named if re.fullmatch("[0-9a-f]+", digest)]
    content = "\\A ".join(lines) or "imgaudit"
    return f'@page{f" {page}" if page else ""} {{ @bottom-left {{ content: "{content}"; white-space: pre; }} }}'
