"""What an audit will cost and what its controls can find, before anything is run."""

from imgaudit.protocol import Protocol
from imgaudit.statistics import controls_needed, fewest_findable


def planner_line(controls: int, targets: int, level: float) -> str:
    """What this many controls can find among this many targets."""
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


def expected_evaluations(protocol: Protocol, rungs: int) -> int:
    """Network evaluations one image will take at most under a protocol, with `rungs` rungs of the ladder."""
    inversion, generation = protocol.inversion, protocol.generation
    optimisation = 2 * inversion.steps * inversion.draws
    passes = [2 if scale > 1 else 1 for scale in generation.guidance_scales]
    first = generation.selection_seeds or generation.seeds
    samples = first * sum(passes) + (generation.seeds - first) * max(passes)
    if "tokens" in protocol.ladder.rungs:
        optimisation += protocol.tokens.iterations * protocol.tokens.per_iteration
    return optimisation + 2 * protocol.error.draws + rungs * samples * generation.num_inference_steps
