"""What a number of controls can find: the smallest p-value that they allow, corrected over the targets.

Controls are counted in works: near copies, and the images of a series that the user declared, are one control.
"""

from collections.abc import Sequence

from imgaudit.schema.findings import Finding
from imgaudit.schema.records import Skipped, is_at_most
from imgaudit.statistics import controls_needed, fewest_findable


def describe_controls_needed(controls: int, targets: int, level: float) -> str:
    """Say in one sentence whether so many controls can single out one of so many targets, and how many are lacking.

    level:  false discovery rate over the targets

    >>> describe_controls_needed(80, 40, 0.05)
    '80 controls are too few to single out one of 40 images at q = 0.05 (at least 10 must stand out): add 719'
    >>> describe_controls_needed(159, 8, 0.05)
    '159 controls are enough to single out one of 8 images at q = 0.05'
    """
    enough = controls_needed(targets, 1, level)
    if controls == 0:
        return f"no controls, so no p-values: {enough} controls are enough to single out one of {targets} images"
    have = "1 control is" if controls == 1 else f"{controls} controls are"
    fewest = fewest_findable(controls, targets, level)
    if fewest is None:
        return f"{have} too few to find any of {targets} images at q = {level:g}: add {enough - controls}"
    if fewest == 1:
        return f"{have} enough to single out one of {targets} images at q = {level:g}"
    return (
        f"{have} too few to single out one of {targets} images at q = {level:g} (at least {fewest} must stand out): "
        f"add {enough - controls}"
    )


def describe_controls_used(controls: int, findings: Sequence[Finding], level: float) -> str:
    """Say in one sentence how many of the audited images stand out, and whether so many controls could have shown one.

    This is said after an audit, where :func:`describe_controls_needed` is said before one. It never asks for more
    images to stand out than do. Works are counted: near copies among the targets are one.

    findings:  all findings of the folder
    level:     false discovery rate over the targets
    """
    compared = {finding.group for finding in findings if not isinstance(finding.q_value, Skipped)}
    found = len({finding.group for finding in findings if is_at_most(finding.q_value, level)})
    if controls == 0 or not compared:
        measured = {finding.group for finding in findings if finding.replication}
        return describe_controls_needed(controls, max(1, len(measured)), level)
    return describe_outcome(controls, len(compared), level, found)


def describe_outcome(controls: int, targets: int, level: float, found: int) -> str:
    """Say the same of counts.

    targets:  works that were compared with the controls, at least one
    found:    those of them whose q-value is at or below the level

    >>> print(describe_outcome(240, 24, 0.05, 10))
    10 of 24 images stand out at q = 0.05; with 240 controls, none counts unless at least 2 do
    >>> print(describe_outcome(240, 24, 0.05, 0))
    0 of 24 images stand out at q = 0.05; with 240 controls, none counts unless at least 2 do: add 239 to show one alone
    >>> print(describe_outcome(159, 8, 0.05, 0))
    0 of 8 images stand out at q = 0.05; 159 controls are enough to show one alone
    """
    images = "1 image" if targets == 1 else f"{targets} images"
    said = f"{found} of {images} {'stands' if found == 1 else 'stand'} out at q = {level:g}"
    counted, are = ("1 control", "is") if controls == 1 else (f"{controls} controls", "are")
    fewest = fewest_findable(controls, targets, level)
    lacking = controls_needed(targets, 1, level) - controls
    if fewest == 1 or 0 < found < (fewest or targets + 1):
        # Fewer than planned can be found where the correction is over fewer p-values.
        return f"{said}; {counted} {are} enough to show {'one alone' if fewest == 1 else 'so many'}"
    if fewest is None:
        return f"{said}; {counted} {are} too few to show any: add {lacking} to show one alone"
    needed = f"{said}; with {counted}, none counts unless at least {fewest} do"
    return needed if found else f"{needed}: add {lacking} to show one alone"


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
