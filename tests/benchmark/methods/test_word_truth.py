"""Words that are exchanged for others: what changes, what stays, and what is never drawn."""

from hypothesis import given
from hypothesis import strategies as st

from imgaudit.benchmark.methods.word_truth import compose_exchanges, exchange_word
from imgaudit.diffusion.word_weights import WORD, find_read_words
from imgaudit.models.families.unet import UNetDenoiser
from tests.conftest import make_pipeline, tiny_recipe

VOCABULARY = ("red", "house", "tree", "boat", "under", "moon", "of", "x1")
SPANS = {"text": [(0, 3, 1), (4, 7, 2), (7, 9, 3)]}


def test_others_are_drawn_by_seed_and_never_of_the_prompt_itself() -> None:
    [_, word] = find_read_words("Red foxes", SPANS)

    def compose(vocabulary: tuple[str, ...] = VOCABULARY, count: int = 20, seed: int = 0) -> list[str]:
        return compose_exchanges("Red foxes", word, SPANS, vocabulary, count=count, seed=seed)

    found = compose()
    assert found == compose() != compose(seed=1)
    assert {other for text in found for other in text.split()[1:]} == {"house", "tree", "boat", "under", "moon"}
    assert all(len(text.split()) == 3 for text in found), "two tokens, two words"
    assert compose(("red", "of"), 1) == ["Red "]


def test_all_other_tokens_keep_their_places() -> None:
    denoiser = UNetDenoiser(make_pipeline(tiny_recipe()), "f")
    prompt = "a zyx fox"
    spans = denoiser.token_spans(prompt)
    assert len(spans["text"]) > 3 and len([word for word in denoiser.vocabulary if word.isalpha()]) > 3
    for word in find_read_words(prompt, spans):
        for text in compose_exchanges(prompt, word, spans, denoiser.vocabulary, count=2, seed=0):
            assert len(denoiser.token_spans(text)["text"]) == len(spans["text"]), text


@given(st.text(st.sampled_from("ab 'é猫,.-\n"), max_size=30))
def test_exchanging_a_word_changes_that_word_alone(text: str) -> None:
    words = [match.group() for match in WORD.finditer(text)]
    for word in find_read_words(text, {}):
        assert exchange_word(text, word.text, word.text) == text
        changed = [match.group() for match in WORD.finditer(exchange_word(text, word.text, "xyz"))]
        assert changed == ["xyz" if own == word.text else own for own in words]
