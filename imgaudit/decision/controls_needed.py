"""What a number of controls can find: the smallest p-value that they allow, corrected over the targets.

Controls are counted in works: near copies, and the images of a series that the user declared, are one control.
"""

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
