"""The rungs of the ladder: what the model is asked with on each, and every image that it answers with."""

from collections.abc import Sequence
from dataclasses import dataclass

from imgaudit.diffusion.context import Chunk, MeasurementContext
from imgaudit.diffusion.elicitation import Answer, Question, elicit
from imgaudit.diffusion.generation import draw_replica_seeds
from imgaudit.diffusion.inversion import Inversion, count_embedding_bits
from imgaudit.diffusion.invmm.search import NoiseInversion
from imgaudit.diffusion.paraphrase import paraphrase
from imgaudit.diffusion.seeds import draw_seed
from imgaudit.diffusion.token_search import TokenPrompt, search_tokens
from imgaudit.io.portfolio import Target
from imgaudit.schema.protocol import Protocol
from imgaudit.schema.records import DECIDING_RUNGS, NOTHING_GIVEN, TEXT_RUNGS, NotAsked, Rung, Skipped

NO_WORDS = Skipped(skipped="this model has no words to search over")
"""The reason why a model cannot be asked on the tokens rung."""


@dataclass(frozen=True)
class RungAnswers:
    """The requests of one rung of one image, and the model's answers."""

    texts: list[str]
    """The prompts; none for an embedding."""
    bits: float | Skipped
    """Bits of the image that what was asked with could carry at most."""
    answers: list[Answer]
    """Every generated image."""


def find_rung_texts(target: Target, rung: Rung, protocol: Protocol, run_seed: int) -> list[str] | Skipped:
    """Return the texts of a text rung of one target, or the reason why there are none."""
    if rung is not Rung.PARAPHRASE:
        return list(target.texts.get(rung, ())) or Skipped(skipped=f"no {rung.value} was given")
    given = [*target.texts.get(Rung.CAPTION, ()), *target.texts.get(Rung.PROMPT, ())]
    if not given:
        return Skipped(skipped="no text was given to reword")
    seed = draw_seed(run_seed, target.image.sha256, "paraphrase")
    texts = [text for text in paraphrase(given[0], protocol.ladder.paraphrases, seed) if text not in given]
    return texts or Skipped(skipped="the text is too short to be reworded")


def ask_rungs(
    context: MeasurementContext, chunk: Chunk, inversion: Inversion
) -> dict[Rung, list[RungAnswers | Skipped]]:
    """Ask the model on every rung of the protocol; one entry per image, Skipped where an image lacks the rung."""
    ladder = context.protocol.ladder
    prompts = _search_prompts(context, chunk)
    return {
        rung: _ask_rung(context, chunk, rung, inversion, prompts)
        if rung.value in ladder.rungs
        else [_no_rung(rung)] * len(chunk)
        for rung in DECIDING_RUNGS
    }


def leave_rungs(context: MeasurementContext, target: Target, reason: str) -> dict[Rung, RungAnswers | Skipped]:
    """Return, for an image that is not asked, which rungs it would have been asked on, and why it is not."""
    rungs: dict[Rung, RungAnswers | Skipped] = {}
    for rung in DECIDING_RUNGS:
        texts: list[str] | Skipped = []
        if rung.value not in context.protocol.ladder.rungs:
            texts = _no_rung(rung)
        elif rung in TEXT_RUNGS:
            texts = find_rung_texts(target, rung, context.protocol, context.run_seed)
        elif rung is Rung.TOKENS and not context.denoiser.words:
            texts = NO_WORDS
        rungs[rung] = texts if isinstance(texts, Skipped) else NotAsked(skipped=reason, texts=texts)
    return rungs


def _no_rung(rung: Rung) -> Skipped:
    return Skipped(skipped=f"the protocol has no {rung.value} rung")


def _search_prompts(context: MeasurementContext, chunk: Chunk) -> list[TokenPrompt]:
    """Search the prompts of the tokens rung; none when the protocol or the model has no such rung."""
    denoiser, protocol = context.denoiser, context.protocol
    if Rung.TOKENS.value not in protocol.ladder.rungs or not denoiser.words:
        return []
    return search_tokens(
        denoiser, chunk.encoded.latents, chunk.encoded.sha256s, protocol.tokens, run_seed=context.run_seed,
        executor=context.executor,
    )  # fmt: skip


def _ask_rung(
    context: MeasurementContext, chunk: Chunk, rung: Rung, inversion: Inversion, prompts: Sequence[TokenPrompt]
) -> list[RungAnswers | Skipped]:
    """Ask on one rung over texts, guidance scales and seeds."""
    protocol, embeds = context.protocol, inversion.prompt_embeds
    found: list[RungAnswers | Skipped] = []
    questions: list[Question] = []
    for row, target in enumerate(one.target for one in chunk.loaded):
        texts: list[str] | Skipped = []
        bits: float | Skipped = NOTHING_GIVEN
        if rung in TEXT_RUNGS:
            texts = find_rung_texts(target, rung, protocol, context.run_seed)
        elif rung is Rung.TOKENS:
            texts = [prompts[row].text] if prompts else NO_WORDS
            bits = prompts[row].bits if prompts else bits
        else:
            bits = count_embedding_bits(embeds, protocol.inversion.free_tokens, protocol.inversion.streams)
        if isinstance(texts, Skipped):
            found.append(texts)
            continue
        condition = context.denoiser.condition(texts) if texts else embeds.select(slice(row, row + 1))
        seeds = draw_replica_seeds(context.run_seed, target.image.sha256, protocol.generation.seeds)
        questions.append(Question(texts, condition, seeds, chunk.encoded.rendered[row]))
        found.append(RungAnswers(texts, bits, []))
    answers = iter(_elicit(context, questions))
    return [one if isinstance(one, Skipped) else RungAnswers(one.texts, one.bits, next(answers)) for one in found]


def ask_learned_noise(
    context: MeasurementContext, chunk: Chunk, searches: Sequence[NoiseInversion]
) -> list[RungAnswers | Skipped]:
    """Ask with fresh seeds of each image's learned noise, under its learned condition.

    Images without a successful check are asked for as well, so that the rate counts every image.

    searches:  InvMM's result for every image of the chunk
    """
    questions, bits = [], []
    for row, (one, sha256) in enumerate(zip(searches, chunk.encoded.sha256s, strict=True)):
        seeds = draw_replica_seeds(context.run_seed, sha256, context.protocol.generation.seeds)
        questions.append(Question([], one.prompt_embeds, seeds, chunk.encoded.rendered[row], one.noise))
        noise_bits = 32.0 * (one.noise.mu.numel() + one.noise.logvar.numel())
        bits.append(noise_bits + count_embedding_bits(one.prompt_embeds, None))
    return [
        RungAnswers([], carried, answers)
        for carried, answers in zip(bits, _elicit(context, questions), strict=True)
    ]  # fmt: skip


def _elicit(context: MeasurementContext, questions: Sequence[Question]) -> list[list[Answer]]:
    return elicit(
        context.denoiser, questions, context.protocol.generation, executor=context.executor, matcher=context.matcher
    )
