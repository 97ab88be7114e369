from hypothesis import given
from hypothesis import strategies as st

from imgaudit.diffusion.paraphrase import MAX_WORDS, paraphrase, read_synonyms


@given(st.text(max_size=300), st.integers(1, 12), st.integers(0, 2**62))
def test_paraphrases_are_bounded_distinct_and_never_the_text(text: str, count: int, seed: int) -> None:
    found = paraphrase(text, count, seed)
    assert len(found) <= count and len(set(found)) == len(found)
    assert text not in found and all(found) and found == paraphrase(text, count, seed)


def test_long_texts_are_cut_and_synonyms_used() -> None:
    assert all(len(one.split()) <= 2 * MAX_WORDS for one in paraphrase("word " * 5000, 4, 0))
    others = {one for seed in range(30) for one in paraphrase("photo of a red dog", 8, seed)}
    assert any("hound" in one or "canine" in one for one in others)
    assert all(word == word.lower() for word in read_synonyms())
