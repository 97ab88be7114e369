"""What a number of controls can find: the smallest p-value that they allow, corrected over the targets."""

from imgaudit.statistics import controls_needed, fewest_findable


def planner_line(controls: int, targets: int, level: float) -> str:
    """Say in one sentence what this many controls can find among this many targets.

    level:  false discovery rate over the targets

    >>> planner_line(80, 40, 0.05)
    'with 80 controls, 10 of 40 is the fewest that can be found at q = 0.05; 719 more would find a single one'
    """
    if controls == 0:
        return f"no controls: no p-value can be had; {controls_needed(targets, 1, level)} would find a single detection"
    fewest = fewest_findable(controls, targets, level)
    enough = controls_needed(targets, 1, level)
    if fewest is None:
        return (
            f"with {controls} controls, nothing can be found among {targets} at q = {level:g}; "
            f"{enough} controls would find one"
        )
    more = "" if fewest == 1 else f"; {enough - controls} more would find a single one"
    return f"with {controls} controls, {fewest} of {targets} is the fewest that can be found at q = {level:g}{more}"
