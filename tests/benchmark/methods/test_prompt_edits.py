"""The benchmark of edited captions: what each edit does, its statistics, and a table from a closed-form model."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imgaudit.benchmark.harness.cases import CaseCounts
from imgaudit.benchmark.methods.prompt_edits import (
    EDITS,
    EditRow,
    EditTable,
    Way,
    edit_words,
    format_prompt_edits,
    measure_prompt_edits,
    report_prompt_edits,
)
from imgaudit.diffusion.executor import Executor
from imgaudit.exceptions import InputError
from tests.benchmark.methods.test_prompt_scores import closed_form_lab

OWN = [f"own{number}" for number in range(8)]
OTHERS = [f"other{number}" for number in range(5)]


@given(st.integers(1, 8), st.sampled_from(list(Way)), st.integers(0, 9), st.integers(0, 99))
def test_an_edit_changes_as_many_words_as_it_says(length: int, way: Way, count: int, seed: int) -> None:
    own = OWN[:length]
    found = edit_words(own, way, count, [*OTHERS, *own], torch.Generator().manual_seed(seed))
    if way is Way.WHOLE:
        assert found == own
        return
    assert (found is None) == (count >= length)
    if found is None:
        return
    kept = [word for word in found if word in own]
    assert kept == [word for word in own if word in kept], "in their order"
    assert len(kept) == (count if way in (Way.FIRST, Way.KEPT) else length - count)
    assert len(found) == (len(kept) if way in (Way.FIRST, Way.LEFT_OUT) else length)
    assert way is not Way.FIRST or found == own[:count]


def test_whole_captions_of_a_closed_form_memoriser_stand_out_and_captions_without_their_number_do_not() -> None:
    table = measure_prompt_edits(closed_form_lab(Executor(64)), CaseCounts(controls=1, held_out=12, seen_once=0))
    assert [(row.way, row.words) for row in table.rows] == list(EDITS) and table.space == "epsilon"
    by_edit = {(row.way, row.words): row for row in table.rows}
    # Captions are "NUMBER picture": the number, which comes first, is what this model looks at.
    assert by_edit[Way.FIRST, 1].memorised == by_edit[Way.WHOLE, 0].memorised
    assert by_edit[Way.LEFT_OUT, 2].memorised == []
    figures = {(one.way, one.words): one for one in report_prompt_edits(table).figures}
    assert figures[Way.WHOLE, 0].separation.auc == 1 and (Way.LEFT_OUT, 2) not in figures


def _table(**rows: Any) -> EditTable:
    return EditTable(lab="x", seed=0, hardware="here", space="epsilon", vocabulary=7, rows=[EditRow(**rows)])


def test_one_in_twenty_of_the_others_may_stand_out() -> None:
    others = [float(number) for number in range(1, 40)]
    (found,) = report_prompt_edits(
        _table(way="first words alone", words=2, memorised=[38.0, 38.5], held_out=others)
    ).figures
    # Of 39 others and the one that is judged, two make one in twenty: the highest and this one.
    assert (found.above.hits, found.above.n) == (1, 2)
    lines = list(
        format_prompt_edits(
            report_prompt_edits(_table(way="first words alone", words=2, memorised=[38.0], held_out=others))
        )
    )
    assert sum(line.strip().startswith("first 2 words alone") for line in lines) == 2, "its rates, and its area"
    assert max(map(len, lines)) <= 80


def test_labs_without_a_null_branch_or_memorised_images_are_refused() -> None:
    with pytest.raises(InputError, match="distilled"):
        measure_prompt_edits(closed_form_lab(Executor(8), no_null="distilled"))
    work = closed_form_lab(Executor(8))
    unseen = [image for image in work.lab.description.images if image.role == "held_out"]
    description = work.lab.description.model_copy(update={"images": unseen})
    with pytest.raises(InputError, match="memorised no image"):
        measure_prompt_edits(
            replace(work, lab=replace(work.lab, description=description)), CaseCounts(controls=1, held_out=12)
        )
