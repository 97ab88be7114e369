"""Text from outside, made safe to show: names without folders, and no invisible characters."""


def file_name(path: str) -> str:
    r"""Return the last part of a path of any operating system.

    >>> file_name("/home/ann/a.png"), file_name("C:\\art\\a.png")
    ('a.png', 'a.png')
    """
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def printable(text: str) -> str:
    r"""Write control and direction characters as escapes, so that a name cannot look like another one.

    >>> print(printable("a\u202eb\n"))
    a\u202eb\n
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
