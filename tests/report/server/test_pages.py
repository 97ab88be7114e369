"""What the server hands out, and what no request gets."""

import os
from pathlib import Path

import pytest

from imgaudit.exceptions import RunFolderError
from imgaudit.report.server import ReviewServer
from imgaudit.runs.folder import RunFolder
from tests.support.review_requests import ask

pytestmark = [pytest.mark.enable_socket]


def test_pages_and_pictures_are_served_with_what_they_may_do(server: ReviewServer) -> None:
    index = ask(server, "GET", "/report/index.html")
    assert index.status == 200 and index.headers["content-type"] == "text/html; charset=utf-8"
    assert "connect-src 'self'" in index.headers["content-security-policy"]
    assert "default-src 'none'" in index.headers["content-security-policy"]
    assert index.headers["x-content-type-options"] == "nosniff" and index.headers["cache-control"] == "no-store"
    assert index.headers["cross-origin-resource-policy"] == "same-origin"
    assert b"Content-Security-Policy" not in index.body and b"<title>" in index.body
    assert server.token.encode() not in index.body
    picture = next(server.run.path.glob("images/*/target.png")).relative_to(server.run.path).as_posix()
    assert ask(server, "GET", f"/{picture}").headers["content-type"] == "image/png"
    assert ask(server, "GET", "/report/assets/decisions.js").headers["content-type"].startswith("text/javascript")
    assert ask(server, "GET", "/report/index.html?x=/../").status == 200
    assert ask(server, "GET", "/").headers["location"] == "/report/index.html"


@pytest.mark.parametrize(
    "path",
    [
        "/manifest.json", "/report.json", "/records.jsonl", "/review/decisions.jsonl", "/report/../manifest.json",
        "/report/%2e%2e/manifest.json", "/report/..%2fmanifest.json", "/images/../report/index.html",
        "/report//index.html", "/report\\index.html", "/report/.lock", "/report/", "/report",
        "/report/index.html/", "/report/index.html%00.png", "/report/./index.html", "/etc/passwd", "/favicon.ico",
        "/report/none.html", "/report/assets", "/images/", "/Report/index.html", "/report/index.html;x",
    ],
)  # fmt: skip
def test_nothing_else_is_served(server: ReviewServer, path: str) -> None:
    answer = ask(server, "GET", path)
    assert answer.status == 404 and answer.headers["content-type"] == "application/json"
    assert b"Traceback" not in answer.body and str(server.run.path).encode() not in answer.body


def test_other_kinds_of_files_and_links_are_not_served(server: ReviewServer, tmp_path: Path) -> None:
    root = server.run.path
    embeds = next(root.glob("images/*/embeds.safetensors")).relative_to(root).as_posix()
    curves = next(root.glob("images/*/curves.json")).relative_to(root).as_posix()
    assert ask(server, "GET", f"/{embeds}").status == ask(server, "GET", f"/{curves}").status == 404
    secret = tmp_path / "secret.html"
    secret.write_text("secret")
    (root / "report" / "out.html").symlink_to(secret)
    (root / "report" / "inside.html").symlink_to(root / "report" / "index.html")
    (root / "report" / "folder").symlink_to(tmp_path)
    for path in ("/report/out.html", "/report/inside.html", "/report/folder/secret.html"):
        assert ask(server, "GET", path).status == 403, path
    os.mkfifo(root / "report" / "pipe.html")
    assert ask(server, "GET", "/report/pipe.html").status == 404


def test_scripts_of_others_are_not_served(server: ReviewServer) -> None:
    script = server.run.path / "report" / "assets" / "decisions.js"
    script.write_text("alert(1)")
    assert ask(server, "GET", "/report/assets/decisions.js").status == 403
    with pytest.raises(RunFolderError, match="not a script of this version"):
        ReviewServer(server.run)


def test_a_run_without_pages_is_refused(folder: RunFolder) -> None:
    (folder.path / "report" / "index.html").unlink()
    with pytest.raises(RunFolderError, match="imgaudit report writes it"):
        ReviewServer(folder)


@pytest.mark.skipif(os.name == "nt", reason="making links takes a right that Windows users lack")
def test_a_file_that_has_a_name_elsewhere_is_not_served(server: ReviewServer, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs", encoding="utf-8")
    index = server.run.path / "report" / "index.html"
    index.unlink()
    os.link(tmp_path / "theirs", index)
    answer = ask(server, "GET", "/report/index.html")
    assert answer.status == 403 and "a hard link" in answer.json["error"]
