"""What an audit will cost and what its controls can find, before anything is run."""

from dataclasses import astuple, dataclass

from imgaudit.diffusion.stream_effects import SEEDS, list_stream_subsets
from imgaudit.schema.protocol import Protocol
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


@dataclass(frozen=True)
class Work:
    """What is asked of a model at most, by kind; works add up."""

    backward: int = 0
    """Samples that pass the network forward and backward."""
    forward: int = 0
    """Samples that pass it forward."""
    plain_steps: int = 0
    """Sampling steps without guidance, one pass each."""
    guided_steps: int = 0
    """Sampling steps under guidance, two passes each."""
    frames: int = 0
    """Images that are generated and kept."""
    glances: int = 0
    """Images that are generated and compared, and not kept."""
    images: int = 0
    """Images that are audited."""

    def __add__(self, other: "Work") -> "Work":
        return Work(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    @property
    def evaluations(self) -> int:
        """Network evaluations, of which a pass forward and backward is two."""
        return 2 * self.backward + self.forward + self.plain_steps + 2 * self.guided_steps


def expected_work(protocol: Protocol, rungs: int) -> Work:
    """What one image will take at most under a protocol, with `rungs` rungs of the ladder."""
    inversion, tokens = protocol.inversion, protocol.tokens
    searches = tokens.iterations if "tokens" in protocol.ladder.rungs else 0
    return (
        Work(
            backward=inversion.steps * inversion.draws + searches * tokens.draws,
            forward=2 * protocol.error.draws + searches * tokens.draws * tokens.candidates,
            images=1,
        )
        + sum((_rung_work(protocol) for _ in range(rungs)), Work())
        + invmm_work(protocol)
    )


def _rung_work(protocol: Protocol) -> Work:
    """Generating for one rung."""
    generation = protocol.generation
    first = generation.selection_seeds or generation.seeds
    scales = generation.guidance_scales
    guided = first * sum(scale > 1 for scale in scales)
    plain = first * sum(scale <= 1 for scale in scales)
    # The scale that the fresh seeds get is not known yet: the dearest.
    fresh = generation.seeds - first
    guided, plain = (guided + fresh, plain) if max(scales) > 1 else (guided, plain + fresh)
    return Work(
        plain_steps=plain * generation.num_inference_steps,
        guided_steps=guided * generation.num_inference_steps,
        frames=guided + plain,
    )


def invmm_work(protocol: Protocol) -> Work:
    """What InvMM takes at most for one image: a search to the end whose every check is made in full, and the rung that
    is asked with what it learned; nothing where the protocol does not have it."""
    config = protocol.invmm
    if config is None:
        return Work()
    checks = -(-config.steps // config.check_every)
    samples = checks * config.noises
    guided = sum(scale > 1 for scale in config.guidance_scales)
    plain = len(config.guidance_scales) - guided
    return Work(
        backward=config.steps * config.draws,
        forward=0 if config.gate_margin is None else samples,
        plain_steps=samples * plain * config.num_inference_steps,
        guided_steps=samples * guided * config.num_inference_steps,
        glances=samples * len(config.guidance_scales),
    ) + _rung_work(protocol)


def expected_evaluations(protocol: Protocol, rungs: int) -> int:
    """Network evaluations one image will take at most under a protocol, with `rungs` rungs of the ladder."""
    return expected_work(protocol, rungs).evaluations


def stream_work(protocol: Protocol, streams: int) -> Work:
    """What an image with copies under its embedding takes at most beyond the others, with `streams` inverted."""
    conditions = len(list_stream_subsets([str(number) for number in range(streams)]))
    if not conditions:
        return Work()
    generation = protocol.generation
    # The first condition is the whole embedding, whose images are there already.
    frames = (conditions - 1) * min(SEEDS, generation.seeds)
    steps = frames * generation.num_inference_steps
    guided = max(generation.guidance_scales) > 1
    return Work(
        forward=conditions * protocol.error.draws,
        plain_steps=0 if guided else steps,
        guided_steps=steps if guided else 0,
        frames=frames,
    )
