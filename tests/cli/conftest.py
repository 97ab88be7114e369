"""What tests of commands share."""

import pytest

from imgaudit.cli import paths


@pytest.fixture
def any_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every path and model as if it were there, for tests of what is done with options before they are used."""
    monkeypatch.setattr(paths, "_require", lambda parameter, value, check: value)
    monkeypatch.setattr(paths, "_refuse_model", lambda check, what, path: None)
    monkeypatch.setattr(paths, "require_named", lambda name: None)
