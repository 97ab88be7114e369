"""A trigger search as a page that opens from disk: images repeated from different seeds, and with which prompts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imgaudit.io.reading import hash_file
from imgaudit.io.writing import write_atomically, write_json
from imgaudit.report.pages import write_page
from imgaudit.runs.trigger_images import image_name
from imgaudit.runs.triggers import NO_PROOF, TriggerOutcome
from imgaudit.schema.triggers import ClosestTarget, Trigger

MOST_CANDIDATES = 200
"""On the page, those with the largest clusters; the files have all."""

MOST_PROMPTS = 1000
"""In the page's table, those of the highest D."""

MOST_PICTURES = 8
"""Most pictures that are shown of a candidate's cluster."""


def trigger_row(trigger: Trigger) -> dict[str, Any]:
    """Return a prompt as one line of output."""
    found, cluster = trigger.found, trigger.cluster
    return {
        "prompt": found.prompt, "squared_magnitude": found.squared_magnitude, "rms": found.rms, "chain": found.chain,
        "changed_words": found.changed, "images": cluster.n, "invalid": trigger.invalid, "cluster": cluster.size,
        "share_low": cluster.low, "share_high": cluster.high, "nearly_blank": trigger.blank, "folder": trigger.folder,
        "representative": (
            None if cluster.representative is None else f"{trigger.folder}/{image_name(cluster.representative)}"
        ),
    }  # fmt: skip


def write_triggers(
    folder: Path, outcome: TriggerOutcome, targets: Sequence[ClosestTarget | None] | None = None
) -> Path:
    """Write triggers.jsonl, candidates.json and report/index.html into FOLDER; returns the page's path.

    targets:  per candidate, the closest of the owner's images, as `closest_targets` gives them
    """
    lines = (json.dumps(trigger_row(one), ensure_ascii=False, allow_nan=False) for one in outcome.triggers)
    write_atomically(folder / "triggers.jsonl", "".join(f"{line}\n" for line in lines))
    write_json(folder / "candidates.json", _summary(outcome, targets))
    views = []
    for number, one in enumerate(outcome.candidates[:MOST_CANDIDATES]):
        best = outcome.triggers[one.prompts[0]]
        views.append(
            {
                "one": one,
                "pictures": [
                    f"../{best.folder}/{image_name(member)}" for member in best.cluster.members[:MOST_PICTURES]
                ],
                "prompts": [outcome.triggers[row].found for row in one.prompts],
                "target": targets[number] if targets else None,
            }
        )
    foot = [
        ("SHA-256 of candidates.json", hash_file(folder / "candidates.json")),
        ("Model", outcome.manifest.model.fingerprint),
    ]
    return write_page(
        folder / "report", "triggers.html.jinja", ("triggers.css",), foot, outcome=outcome, manifest=outcome.manifest,
        views=views, most=MOST_CANDIDATES, most_prompts=MOST_PROMPTS, no_proof=NO_PROOF,
    )  # fmt: skip


def candidate_rows(outcome: TriggerOutcome, targets: Sequence[ClosestTarget | None] | None) -> list[dict[str, Any]]:
    """Return candidates with the texts of their prompts and, where asked for, the closest target."""
    rows = []
    for number, one in enumerate(outcome.candidates):
        row = one.model_dump(mode="json")
        row["prompts"] = [outcome.triggers[place].found.prompt for place in one.prompts]
        if targets is not None:
            target = targets[number]
            row["closest_target"] = target and target.model_dump()
        rows.append(row)
    return rows


def _summary(outcome: TriggerOutcome, targets: Sequence[ClosestTarget | None] | None) -> dict[str, Any]:
    values = outcome.model_dump(mode="json", exclude={"manifest", "triggers", "candidates"})
    return {"what_this_says": NO_PROOF, **values, "candidates": candidate_rows(outcome, targets)}
