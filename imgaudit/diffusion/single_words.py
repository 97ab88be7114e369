"""Every word as a prompt of its own, ranked by how far it moves the first prediction of a model.

The pull of a caption comes with its last words (`imgaudit benchmark prompt-edits`), so that a walk over prompts has
little to follow. But the first word of a memorised caption, which often names the image, has a higher D than most words
(:class:`imgaudit.diffusion.trigger_search.SquaredMagnitudes`), and to measure every word once costs less than a walk.
"""

import math
from collections.abc import Callable, Sequence

from imgaudit.diffusion.trigger_search import Chain, SearchResult, SquaredMagnitudes
from imgaudit.exceptions import InputError
from imgaudit.schema.triggers import SearchSettings

AT_ONCE = 256
"""Words between two reports of progress, and so the most that a kill loses."""


def measure_words(
    measured: SquaredMagnitudes,
    words: Sequence[str],
    settings: SearchSettings,
    *,
    on_iteration: Callable[[int, int], None] = lambda done, total: None,
) -> SearchResult:
    """Measure D of every word by itself, and return the result in the form of a search of as many chains.

    words:  the most frequent first; at most `settings.most_prompts` are measured

    D of each word is in the first chain, and the others are empty, so that `best_prompts` takes as many prompts as from
    a search. The scale is the median D of the words, and the temperature has no part in it: 0.
    Raises InputError when no word moves the model's prediction.

    >>> import torch
    >>> from imgaudit.diffusion.executor import Executor
    >>> from imgaudit.models import FiniteSetDenoiser
    >>> points = torch.stack([torch.ones(3, 4, 4), -torch.ones(3, 4, 4)])
    >>> measured = SquaredMagnitudes(FiniteSetDenoiser(points), noises=4, seed=0, executor=Executor(8))
    >>> result = measure_words(measured, ["0", "1"], SearchSettings(chains=2, each_word=True))
    >>> sorted(result.chains[0].seen), len(result.chains)
    (['0', '1'], 2)
    """
    chosen = list(dict.fromkeys(words))[: settings.most_prompts]
    seen: dict[str, float] = {}
    for start in range(0, len(chosen), AT_ONCE):
        some = chosen[start : start + AT_ONCE]
        seen |= zip(some, measured.of(some), strict=True)
        on_iteration(len(seen), len(chosen))
    if not any(math.isfinite(pull) and pull > 0 for pull in seen.values()):
        raise InputError(
            f"none of {len(chosen)} words moves the model's prediction: give words that it knows with --words-file"
        )
    scale = sorted(seen.values())[len(seen) // 2]
    empty = [Chain([]) for _ in range(settings.chains - 1)]
    return SearchResult([Chain([], seen), *empty], max(0.0, scale), 0.0)
