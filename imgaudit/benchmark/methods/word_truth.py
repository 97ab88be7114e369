"""Which words of a caption an image needs to come back: images are generated without each of them.

A word is taken away in two ways: it is left out, and it is exchanged for words of the vocabulary, as many as it has
tokens, so that all other tokens keep their places.
"""

import random
from collections.abc import Mapping, Sequence

from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.diffusion.generation import generate
from imgaudit.diffusion.seeds import draw_seed
from imgaudit.diffusion.word_weights import WORD, ReadWord, TokenSpan, remove_word
from imgaudit.lab.description import LabImage
from imgaudit.lab.truth import GUIDANCE_SCALE, RMS_LIMIT

COMMONEST = 20_000
"""Words of the vocabulary that others are exchanged for: tokenizers list the commonest first."""
IMAGES = 2
"""Images with the whole caption, and without each word: one has it left out, the other has it exchanged."""
STEPS = 10
"""Sampling steps: half of those by which the lab tells what is memorised."""


def exchange_word(prompt: str, word: str, other: str) -> str:
    """Return the prompt with another text for every occurrence of a word that is not part of another word.

    >>> exchange_word("a red fox, red hill, redder", "red", "one two")
    'a one two fox, one two hill, redder'
    """
    return WORD.sub(lambda match: other if match.group() == word else match.group(), prompt)


def compose_exchanges(
    prompt: str,
    word: ReadWord,
    spans: Mapping[str, Sequence[TokenSpan]],
    vocabulary: Sequence[str],
    *,
    count: int,
    seed: int,
) -> list[str]:
    """Return the prompt with other words in place of one, `count` times; with none where there are no other words.

    Words of one or two letters, those that are not all letters, and the prompt's own are never drawn.

    spans:       stream to the prompt's own tokens
    vocabulary:  words of one token each, the commonest first
    """
    start, end = word.places[0]
    counts = [sum(low < end and start < high for low, high, _ in tokens) for tokens in spans.values()]
    needed = max(1, *counts, 0)
    own = {match.group().casefold() for match in WORD.finditer(prompt)}
    others = [other for other in vocabulary[:COMMONEST] if len(other) > 2 and other.isalpha()]
    composed = []
    for index in range(count):
        draw = random.Random(draw_seed(seed, "", f"exchange of {word.text}", index))
        # Enough that as many as are needed remain when all of the prompt's own are among them.
        drawn = draw.sample(others, min(needed + len(own), len(others)))
        other = " ".join([other for other in drawn if other.casefold() not in own][:needed])
        composed.append(exchange_word(prompt, word.text, other) if other else remove_word(prompt, word.text))
    return composed


def count_returned(work: LabWork, image: LabImage, words: Sequence[ReadWord]) -> list[int]:
    """Count the images that come back: of 2 with the whole caption, then of 2 without each word.

    An image comes back when it lies within the lab's RMS of the image as the autoencoder decodes it. The two seeds are
    the same for all words. Raises InputError when the folder of images lacks this one.
    """
    denoiser, spans = work.denoiser, work.denoiser.token_spans(image.text)
    rendered = work.encode(work.load([image]).targets).rendered[0]
    texts = [image.text] * IMAGES
    for word in words:
        texts.append(remove_word(image.text, word.text))
        texts += compose_exchanges(image.text, word, spans, denoiser.vocabulary, count=1, seed=work.seed)
    seeds = [[draw_seed(work.seed, image.sha256, "without a word", number % IMAGES)] for number in range(len(texts))]
    made = generate(
        denoiser, denoiser.condition(texts), seeds, guidance_scale=GUIDANCE_SCALE, num_inference_steps=STEPS,
        executor=work.executor,
    )  # fmt: skip
    back = [float(((one.image - rendered) / 2).square().mean().sqrt()) <= RMS_LIMIT for [one] in made]
    return [sum(back[at : at + IMAGES]) for at in range(0, len(back), IMAGES)]
