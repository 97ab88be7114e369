"""Random tokens in the prompt: Somepalli et al.'s baseline (NeurIPS 2023, arXiv 2305.20086), MemBench's RTA."""

import hashlib
from collections.abc import Sequence

import numpy as np

from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds
from imgaudit.diffusion.paraphrase import read_synonyms
from imgaudit.diffusion.seeds import draw_seed
from imgaudit.mitigation.mitigated import MitigatedDenoiser


class RandomTokens(MitigatedDenoiser):
    """The model with random words put into every prompt, at random places; the same ones for the same prompt.

    Words are those that the model's own tokenizer reads as one token, or where the adapter cannot tell, those of the
    package's list of synonyms. An embedding has no words: inverted conditions are sampled as they are.
    """

    def __init__(self, denoiser: Denoiser, *, count: int = 4, seed: int = 0) -> None:
        """count: words that are put in."""
        super().__init__(denoiser, self.identify(count=count, seed=seed))
        self.count, self.seed = count, seed
        self._words = list(denoiser.words) or sorted(read_synonyms())

    @staticmethod
    def identify(*, count: int, seed: int) -> str:
        """Return the identity of the mitigation with these settings."""
        return f"random-tokens count={count} seed={seed}"

    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Return the embeddings of the changed prompts."""
        return self.denoiser.condition([self.insert_words(prompt) for prompt in prompts])

    def insert_words(self, prompt: str) -> str:
        """Return the prompt with the words in it."""
        digest = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()
        draw = np.random.default_rng(draw_seed(self.seed, digest, "random tokens"))
        words = prompt.split()
        for _ in range(self.count):
            words.insert(int(draw.integers(0, len(words) + 1)), self._words[int(draw.integers(0, len(self._words)))])
        return " ".join(words)
