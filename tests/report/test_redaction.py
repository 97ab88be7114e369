"""No folder of this machine is named in what is handed on."""

import pytest

from imgaudit.report.redaction import folders_of, without_folders


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/ann/art/a.png", "a.png"),
        ("C:\\Users\\ann\\a.png", "a.png"),
        ("\\\\server\\share\\a.png", "a.png"),
        ("~/art/a.png", "a.png"),
        ("--model=/models/sd", "--model=sd"),
        ("damaged: '/home/ann/art/sub/a.png'", "damaged: 'a.png'"),
        ("relative/a.png", "relative/a.png"),
        ("a fox / a hen", "a fox / a hen"),
        ("/", "/"),
    ],
)
def test_folders_are_cut_out(text: str, expected: str) -> None:
    folders = folders_of(["/home/ann/art/a.png", "/home/ann/art/sub/a.png", "relative/a.png"])
    assert without_folders([text], folders) == [expected]
