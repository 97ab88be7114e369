"""What the benchmark of mitigations measured, and the names of the mitigations in it."""

from imgaudit.benchmark.harness.table import Table
from imgaudit.benchmark.methods.mask_overlap import MaskOverlap
from imgaudit.mitigation.evaluation_summary import EvaluationTable, Share
from imgaudit.schema.comparison import Retention
from imgaudit.schema.records import Skipped

PRUNED, RANDOM, TUNED = "pruned", "random-mask", "fine-tuned"
"""Folders of changed models."""
MORE = "0.6"
"""Sparsity of a second pruning, far beyond the published 1 %: chosen on the lab `fit`."""
MORE_PRUNED, MORE_RANDOM = "pruned-more", "random-more"
"""Its folders."""
SHARE = "0.03"
"""Share of all weights that is pruned by what images' errors depend on: chosen on the lab `fit`."""
ERRORS_PRUNED, ERRORS_RANDOM = "pruned-by-errors", "random-by-errors"
"""Its folders."""
FILTERED = "filtered"
"""Folder of a model that was trained with a filter."""
CHANGED = (PRUNED, RANDOM, MORE_PRUNED, MORE_RANDOM, ERRORS_PRUNED, ERRORS_RANDOM, TUNED)
LONGER = "descent:iterations=30"
"""The descent, three times as long as published: tried on the lab `fit`."""
INFERENCE = ("descent", LONGER, "random-tokens", "attention")
"""Inference-time mitigations, else with their defaults, which are the published ones."""
AUDITED = (PRUNED, ERRORS_PRUNED, TUNED, LONGER)
"""Mitigations that audits look through."""


class MitigationTable(Table):
    """What was measured, committed with a lab."""

    long_lists = ("commands",)

    lab: str
    """Lab model."""
    seed: int
    """Of everything that is drawn."""
    located: int
    """Memorised images that located what was pruned."""
    controls: int
    """Control images given to every audit."""
    hardware: str
    """Machine."""
    commands: list[str]
    """What was run, in order."""
    evaluation: EvaluationTable
    """Both scenarios, by captions alone."""
    located_reproduced: dict[str, Share]
    """Model to how many of the images that located the weights it reproduces for their captions."""
    overlap: MaskOverlap
    """Weights that masks of different images have in common."""
    retention: dict[str, Retention | Skipped]
    """Mitigation to what audits through it still reproduce of what the audit of the model as it is reproduces."""
