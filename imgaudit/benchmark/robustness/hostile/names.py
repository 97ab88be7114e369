"""Names that break tables, terminals and pages, and entries of a folder that are no ordinary files."""

import contextlib
import os
import stat
from pathlib import Path

from imgaudit.benchmark.robustness.hostile.folder import HostileFolder, Outcome

MARKUP = (
    'double " quote.png', "single ' quote.png", "<img src=x onerror=alert(1)>.png", "<b/>.png",
    "<script>alert(1)</script>.png", "&lt;b&gt;&amp;.png", "[/red].png", "[bold]x.png", "[link=file:x]y[/link].png",
    "{{7*7}}.png", "{% raw %}.png", "${jndi:ldap:x}.png", "%s%n%d.png", "{0}{name}.png", "![a](b).png", "a|b.png",
    "*.png", "?.png", "#fragment.png", "a%2fb%00.png", "javascript:alert(1).png", "http:x.png",
)  # fmt: skip
"""Names in the languages of pages, terminals, templates and addresses; a slash makes a folder."""

COMMANDS = (
    "$(touch PLANTED).png", "`touch PLANTED`.png", "; touch PLANTED;.png", "| touch PLANTED.png",
    "&& touch PLANTED.png", "-rf.png", "--help.png", "~.png", "$HOME.png", "back\\slash.png", "up\\..\\..\\x.png",
    "C:\\x.png", "a..png", "a .png", " .png", "CON.png", "nul.png", "file:stream.png", "=1+1.png", "+1.png", "-1.png",
    "@SUM(1).png", "=HYPERLINK(1).png", "comma,semicolon;.png", "x.png.exe.png", "target.png", "manifest.json.png",
)  # fmt: skip
"""Names for shells, spreadsheets, other systems, and for the files of a run."""

CHARACTERS = (
    "new\nline.png", "tab\t.png", "carriage\rreturn.png", "escape \x1b[31m.png", "\x1b]8;;x\x07link\x1b]8;;\x07.png",
    "\x1b[2J.png", "bell\x07.png", "delete\x7f.png", "c1 \x9b31m.png", "right to left \u202egnp.exe.png",
    "isolate \u2066x\u2069.png", "mark \u200f.png", "zero\u200bwidth\u2060.png", "join\u200der.png", "\ufeffmark.png",
    "line\u2028separator.png", "e\u0301.png", "\u00e9.png", "Z\u0335\u0321\u0322\u033f\u034a.png",
    "\U0001f9a8\u200d\U0001f525.png", "\u0430.png", "\u4e2d\u6587.png", "\u05d0\u0628.png", "\ue000private.png",
    "\U0010ffff.png", "x" * 251 + ".png", "\u00e9" * 125 + "x.png", "\\udcff.png", "\\xff.png", "nbsp\u00a0.png",
)  # fmt: skip
"""Control characters, directions, look-alikes, normal forms (one e with an acute in each) and the longest names."""

RAW = (b"\xff.png", b"\xff\xfe.png", b"latin \xe9.png", b"surrogate \xed\xa0\x80.png", b"overlong \xc0\xaf.png")
"""Names that are not UTF-8."""

UNLISTED = (
    ".hidden.png", "..png", ".png", "._resource.png", ".hidden/inside.png", "trailing space.png ", "new line.png\n",
    "no suffix", "png", "notes.txt", "backup.png~", "picture.png.txt", "dot.png.",
    "suffix.\x1b[31m", "suffix.<b>",
)  # fmt: skip
"""Pictures that are hidden or have no image's suffix."""


def put_names(target: HostileFolder) -> None:
    """A sound picture of its own under each name; names that the file system refuses are left out."""
    expected = [(name, Outcome.MEASURED) for name in (*MARKUP, *COMMANDS, *CHARACTERS, *map(os.fsdecode, RAW))]
    expected += [(name, Outcome.UNLISTED) for name in UNLISTED]
    for name, outcome in expected:
        with contextlib.suppress(OSError, UnicodeEncodeError):
            target.put("names", name, target.encoded("PNG"), outcome)
    for parent in ("a", "b", "a b", "deep/" * 40):
        target.put("same name", f"{parent}/picture.png", target.encoded("PNG"), Outcome.MEASURED)


def put_twins(target: HostileFolder) -> None:
    """One file three times: the first is measured."""
    data = target.encoded("PNG")
    first = target.put("identical", "1.png", data, Outcome.MEASURED)
    target.put("identical", "2.png", data, Outcome.SKIPPED)
    third = target.path("identical", "3 hard link.png")
    with contextlib.suppress(OSError):
        os.link(first, third)
        target.add("identical", third, Outcome.SKIPPED)


def put_links(target: HostileFolder) -> None:
    """Symbolic links to files, folders, devices, to nothing and to themselves."""
    kind = "symbolic link"
    sound = target.put(kind, "original.png", target.encoded("PNG"), Outcome.MEASURED)
    links = {
        "to a file.png": sound.name, "to a file called otherwise.jpg": sound.name,
        "absolute.png": str(sound.absolute()), "dangling.png": "nowhere.png", "loop.png": "loop.png",
        "to a link.png": "to a file.png", "to the parent": "..", "to the parent.png": "..",
        "to a sibling": "../sound", "to a secret.png": "/etc/passwd", "x.png": "/dev/zero",
        "terminal.png": "/dev/tty", "memory.png": "/proc/self/mem", "too long.png": "x/" * 300,
    }  # fmt: skip
    for name, goal in links.items():
        path = target.path(kind, name)
        path.symlink_to(goal)
        target.add(kind, path, Outcome.SKIPPED)
    for name in ("notes.txt", ".hidden.png"):
        path = target.path(kind, name)
        path.symlink_to(sound.name)
        target.add(kind, path, Outcome.UNLISTED)


def put_special_files(target: HostileFolder) -> None:
    """Pipes, sockets, devices, folders that are called like images, and entries without rights."""
    kind = "no ordinary file"
    nodes = {"pipe.png": (stat.S_IFIFO, 0), "socket.png": (stat.S_IFSOCK, 0), "zero.png": (stat.S_IFCHR, (1, 5))}
    for name, (form, device) in nodes.items():
        path = target.path(kind, name)
        # Devices need root, and containers may refuse them even then.
        with contextlib.suppress(OSError):
            os.mknod(path, form | 0o600, os.makedev(*device) if isinstance(device, tuple) else 0)
            target.add(kind, path, Outcome.SKIPPED)
    target.put(kind, "folder.png/inside.png", target.encoded("PNG"), Outcome.MEASURED)
    target.add(kind, target.path(kind, "folder.png"), Outcome.UNLISTED)
    target.path(kind, "empty.png/nothing")
    target.add(kind, target.path(kind, "empty.png"), Outcome.UNLISTED)
    target.put(kind, "no right to read.png", target.encoded("PNG"), Outcome.EITHER).chmod(0)
    _put_closed_folder(target, kind)


def _put_closed_folder(target: HostileFolder, kind: str) -> None:
    """Root looks into any folder; for others its contents are unknown and the folder stands for them."""
    inside = target.path(kind, "no right to enter/inside.png")
    inside.write_bytes(target.encoded("PNG"))
    inside.parent.chmod(0)
    if os.access(inside.parent, os.R_OK | os.X_OK):
        target.add(kind, inside, Outcome.MEASURED)
    else:
        target.add(kind, inside.parent, Outcome.EITHER)


def open_rights(folder: Path) -> None:
    """Give the rights back that :func:`put_special_files` took, so that the folder can be deleted."""
    for path in folder.glob("*/no right to *"):
        path.chmod(0o700)
