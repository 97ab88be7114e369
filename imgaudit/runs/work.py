"""How much is asked of a model: an upper bound from the protocol alone, before anything is run."""

from dataclasses import astuple, dataclass

from imgaudit.diffusion.stream_effects import SEEDS, list_stream_subsets
from imgaudit.schema.funnel import FirstLookConfig
from imgaudit.schema.protocol import Protocol


@dataclass(frozen=True)
class Work:
    """The most that is asked of a model, by kind of pass. Works can be added."""

    backward: int = 0
    """Samples that pass the network forward and backward."""
    forward: int = 0
    """Samples that pass the network forward only."""
    plain_steps: int = 0
    """Sampling steps without guidance, one pass each."""
    guided_steps: int = 0
    """Sampling steps under guidance, two passes each."""
    frames: int = 0
    """Images that are generated and kept."""
    checked: int = 0
    """Images that are generated and compared, and not kept."""
    images: int = 0
    """Images that are audited."""

    def __add__(self, other: "Work") -> "Work":
        return Work(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    @property
    def evaluations(self) -> int:
        """The number of network evaluations; a pass forward and backward counts as two."""
        return 2 * self.backward + self.forward + self.plain_steps + 2 * self.guided_steps


def expected_work(
    protocol: Protocol, rungs: int, *, captioned: bool = False, prediction_type: str | None = None
) -> Work:
    """Return the most that one image takes under a protocol, with `rungs` rungs of the ladder.

    prediction_type:  what the model's network predicts, which decides how its score is searched; the most where it is
        not known
    captioned:  True for an image with a caption, under which its denoising error is measured once more
    """
    inversion, tokens = protocol.inversion, protocol.tokens
    span = protocol.span if prediction_type is None or protocol.searches_span(prediction_type) else None
    searches = tokens.iterations if "tokens" in protocol.ladder.rungs else 0
    return (
        Work(
            backward=inversion.steps * inversion.draws
            + (span.steps * span.draws if span else 0)
            + searches * tokens.draws,
            forward=(2 + captioned) * protocol.error.draws + searches * tokens.draws * tokens.candidates,
            images=1,
        )
        + sum((_rung_work(protocol) for _ in range(rungs)), Work())
        + invmm_work(protocol)
    )


def score_work(protocol: Protocol, prediction_type: str | None = None, *, captioned: bool = False) -> Work:
    """Return what one image takes that is scored and, because of a funnel, not asked further.

    captioned:  True for an image with a caption, under which it is scored once more
    """
    steps, draws = _score_search(protocol, prediction_type)
    return Work(backward=steps * draws, forward=(2 + captioned) * protocol.error.draws, images=1)


def look_work(
    protocol: Protocol, config: FirstLookConfig, prediction_type: str | None = None, *, captioned: bool = False
) -> Work:
    """Return what one image takes whose score is not measured after its first look.

    captioned:  True for an image with a caption, under which it is looked at once more
    """
    steps, draws = _score_search(protocol, prediction_type)
    places = len(config.choose_draws(protocol.error.draws))
    return Work(backward=config.count_steps(steps) * draws, forward=(2 + captioned) * places, images=1)


def _score_search(protocol: Protocol, prediction_type: str | None) -> tuple[int, int]:
    """Return the steps of the search that comes before a score, and the draws of each."""
    span = protocol.span if prediction_type is None or protocol.searches_span(prediction_type) else None
    return (span.steps, span.draws) if span else (protocol.error.after_steps, protocol.inversion.draws)


def control_work(protocol: Protocol, whole: Work) -> Work:
    """Return what one control takes: what an image takes that is asked in all ways, and the first look that a funnel
    may compare with, now or later."""
    return whole + added_look_work(protocol, FirstLookConfig())


def added_look_work(protocol: Protocol, config: FirstLookConfig) -> Work:
    """Return what a first look adds to an image whose score is measured: errors under the condition so far.

    The search goes on from there, and the other errors are not measured again.
    """
    return Work(forward=len(config.choose_draws(protocol.error.draws)))


def funnel_work(
    protocol: Protocol, whole: Work, prediction_type: str | None = None, *, captioned: bool
) -> list[tuple[float, Work]]:
    """Return how images like the controls fare under a protocol's funnel: shares of them, and what each then takes.

    whole:   what an image takes that is asked in all ways without a funnel
    Returns  shares that add up to 1, from those left out first; all of them asked in all ways without a funnel
    """
    funnel = protocol.funnel
    if funnel is None:
        return [(1.0, whole)]
    score, look = score_work(protocol, prediction_type, captioned=captioned), funnel.first_look
    if look is None:
        return [(1 - funnel.share, score), (funnel.share, whole)]
    first, added = look_work(protocol, look, prediction_type, captioned=captioned), added_look_work(protocol, look)
    return [(1 - look.share, first), (look.share - funnel.share, score + added), (funnel.share, whole + added)]


def _rung_work(protocol: Protocol) -> Work:
    """Return the work of generating for one rung."""
    generation = protocol.generation
    first = generation.selection_seeds or generation.seeds
    scales = generation.guidance_scales
    guided = first * sum(scale > 1 for scale in scales)
    plain = first * sum(scale <= 1 for scale in scales)
    # The scale that the fresh seeds get is not known yet: the most expensive is assumed.
    fresh = generation.seeds - first
    guided, plain = (guided + fresh, plain) if max(scales) > 1 else (guided, plain + fresh)
    return Work(
        plain_steps=plain * generation.num_inference_steps,
        guided_steps=guided * generation.num_inference_steps,
        frames=guided + plain,
    )


def invmm_work(protocol: Protocol) -> Work:
    """Return the most that InvMM takes for one image: a search to its last step with every check made in full, and the
    rung that uses the learned noise. Return no work where the protocol does not include InvMM."""
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
        checked=samples * len(config.guidance_scales),
    ) + _rung_work(protocol)


def stream_work(protocol: Protocol, streams: int) -> Work:
    """Return the most that an image with copies under its embedding takes beyond others, with `streams` inverted."""
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
