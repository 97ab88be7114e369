"""What a number of controls can find: the smallest p-value that they allow, corrected over the targets.

Controls are counted in works: near copies, and the images of a series that the user declared, are one control.
"""

from collections.abc import Sequence

from imgaudit.decision.null_bank import count_bank_controls
from imgaudit.schema.findings import Finding
from imgaudit.schema.records import Skipped, is_at_most
from imgaudit.statistics import controls_needed, fewest_findable


def count_works_needed(counting: int) -> int:
    """Return how many works must be given for so many controls that count: a part of 80 or more is kept out.

    >>> count_works_needed(59), count_works_needed(159), count_bank_controls(count_works_needed(159))
    (59, 211, 159)
    """
    works = counting
    while count_bank_controls(works) < counting:
        works += 1
    return works


def _say_lacking(enough: int, controls: int, *, kept_out: bool) -> str:
    """Say how many controls are needed: in all, where a part of them will not count."""
    works = count_works_needed(enough) if kept_out else enough
    if works == enough:
        return f"add {enough - controls}"
    return f"{enough} must count, which takes {works} works in all, because a quarter of them only checks the rule"


def describe_controls_needed(controls: int, targets: int, level: float, *, kept_out: bool = True) -> str:
    """Say in one sentence whether so many controls can single out one of so many targets, and how many are needed.

    controls:  those that count in p-values
    level:     false discovery rate over the targets
    kept_out:  True where a part of 80 or more does not count

    >>> describe_controls_needed(28, 4, 0.05)
    '28 controls are too few to single out one of 4 images at the level 0.05 (at least 3 must stand out): add 51'
    >>> print(describe_controls_needed(111, 8, 0.05))
    111 controls are too few to single out one of 8 images at the level 0.05 (at least 2 must stand out): 159 must \
count, which takes 211 works in all, because a quarter of them only checks the rule
    >>> describe_controls_needed(159, 8, 0.05)
    '159 controls are enough to single out one of 8 images at the level 0.05'
    """
    enough = controls_needed(targets, 1, level)
    if controls == 0:
        works = count_works_needed(enough) if kept_out else enough
        given = f" that count ({works} works in all)" if works > enough else ""
        return f"no controls, so no p-values: {enough} controls{given} are enough to single out one of {targets} images"
    have = "1 control is" if controls == 1 else f"{controls} controls are"
    lacking = _say_lacking(enough, controls, kept_out=kept_out)
    fewest = fewest_findable(controls, targets, level)
    if fewest is None:
        return f"{have} too few to find any of {targets} images at the level {level:g}: {lacking}"
    if fewest == 1:
        return f"{have} enough to single out one of {targets} images at the level {level:g}"
    return (
        f"{have} too few to single out one of {targets} images at the level {level:g} (at least {fewest} must stand "
        f"out): {lacking}"
    )


def describe_controls_used(controls: int, findings: Sequence[Finding], level: float) -> str:
    """Say in one sentence how many of the audited images stand out, and whether so many controls could have shown one.

    This is said after an audit, where :func:`describe_controls_needed` is said before one. It never asks for more
    images to stand out than do. Works are counted: near copies among the targets are one.

    findings:  all findings of the folder
    level:     false discovery rate over the targets
    """
    works = ComparedWorks(level)
    for finding in findings:
        works.add(finding)
    return works.describe(controls)


class ComparedWorks:
    """The works that were compared with controls, for `describe_controls_used`, one finding at a time."""

    def __init__(self, level: float) -> None:
        """Begin without any.

        level:  false discovery rate over the targets
        """
        self._level = level
        self._compared, self._found, self._measured = set[str](), set[str](), set[str]()

    def add(self, finding: Finding) -> None:
        """Take note of a finding."""
        if not isinstance(finding.q_value, Skipped):
            self._compared.add(finding.group)
        if is_at_most(finding.q_value, self._level):
            self._found.add(finding.group)
        if finding.replication:
            self._measured.add(finding.group)

    def describe(self, controls: int) -> str:
        """Return what `describe_controls_used` returns of all of them."""
        if controls == 0 or not self._compared:
            return describe_controls_needed(controls, max(1, len(self._measured)), self._level)
        return describe_outcome(controls, len(self._compared), self._level, len(self._found))


def describe_outcome(controls: int, targets: int, level: float, found: int) -> str:
    """Say the same of counts.

    targets:  works that were compared with the controls, at least one
    found:    those of them whose q-value is at or below the level

    >>> print(describe_outcome(240, 24, 0.05, 10))
    10 of 24 images stand out from the controls at the level 0.05; with 240 controls that count, images can stand \
out only where 2 or more do
    >>> print(describe_outcome(240, 24, 0.05, 0))
    0 of 24 images stand out from the controls at the level 0.05; with 240 controls that count, images can stand \
out only where 2 or more do: for one alone, 479 must count, which takes 638 works in all, because a quarter of them \
only checks the rule
    >>> print(describe_outcome(159, 8, 0.05, 0))
    0 of 8 images stand out from the controls at the level 0.05; 159 controls that count are enough to show one alone
    """
    images = "1 image" if targets == 1 else f"{targets} images"
    said = f"{found} of {images} {'stands' if found == 1 else 'stand'} out from the controls at the level {level:g}"
    counted, are = ("1 control that counts", "is") if controls == 1 else (f"{controls} controls that count", "are")
    fewest = fewest_findable(controls, targets, level)
    lacking = _say_lacking(controls_needed(targets, 1, level), controls, kept_out=True)
    if fewest == 1 or 0 < found < (fewest or targets + 1):
        # Fewer than planned can be found where the correction is over fewer p-values.
        return f"{said}; {counted} {are} enough to show {'one alone' if fewest == 1 else 'so many'}"
    if fewest is None:
        return f"{said}; {counted} {are} too few to show any: for one alone, {lacking}"
    needed = f"{said}; with {counted}, images can stand out only where {fewest} or more do"
    return needed if found else f"{needed}: for one alone, {lacking}"


def describe_works(files: int, works: int, what: str = "control") -> str:
    """Say how many control files there are, and how many works they are where that is fewer.

    what:  word for the images, such as "decoy"

    >>> describe_works(21, 7), describe_works(7, 7)
    ('21 control files are 7 works: near copies and series count once', '7 control files')
    """
    given = f"1 {what} file" if files == 1 else f"{files} {what} files"
    if works >= files:
        return given
    return f"{given} are {works} work{'' if works == 1 else 's'}: near copies and series count once"
