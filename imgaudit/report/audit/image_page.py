"""The page of one image: the pair, the ladder, every replica, and where each number comes from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from imgaudit.exceptions import InputError
from imgaudit.io.containment import OpenFolder
from imgaudit.io.framing import ORIGINAL_SIDE
from imgaudit.io.writing import read_json, write_into, write_png
from imgaudit.report.alarm_wording import ALARM_WORDING, describe_effects, sort_alarms
from imgaudit.report.audit.charts import Charts
from imgaudit.report.audit.outputs import find_copies
from imgaudit.report.copy_counts import closest_text, count_copies, explain_dashes, rate_text
from imgaudit.report.examined import NO_ORIGINAL, RENDERING_MEANING, describe_frame, similarity_text
from imgaudit.report.pictures import fade_outside, read_picture
from imgaudit.report.wording import (
    CAPTION_LIMIT,
    CONDITION_WORDING,
    DESCRIPTOR_LACKED,
    INVMM_LIMIT,
    INVMM_MEANING,
    P_VALUE_SENTENCE,
    PART_NOT_TESTED,
    RUNG_WORDING,
    SCORED_ONLY,
    STREAMS_LIMIT,
    caption_text,
    standing,
    stream_label,
)
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.baseline import BASELINE_WORDING
from imgaudit.schema.dial import Dial
from imgaudit.schema.findings import Finding
from imgaudit.schema.measures import COPY_DESCRIPTORS, DECIDING_DESCRIPTOR, MEASURE_NAMES
from imgaudit.schema.records import REPORTED_RUNGS, Measurement, Replica, Rung, RungMeasurement, Skipped
from imgaudit.schema.replication import Replication
from imgaudit.schema.score_search import FOUND_WORDING, explain_search


@dataclass(frozen=True)
class ReplicaView:
    """A replica as a page shows it."""

    replica: Replica
    """The record."""
    copied: bool
    """True when it passed both copy thresholds."""


@dataclass(frozen=True)
class RungView:
    """A rung as a page shows it: the measurement, the conclusion, and every replica, best first."""

    rung: Rung
    wording: str
    measured: RungMeasurement
    replication: Replication
    replicas: list[ReplicaView]
    texts: list[list[tuple[str, str]]]
    """Each text in pieces, with who did not read the piece."""


def pieces_of(text: str, read: Mapping[str, int]) -> list[tuple[str, str]]:
    """Cut a text where encoders stop reading; return every piece with the encoders that never saw it.

    read:  characters read, per encoder that cut the text

    >>> pieces_of("a red fox", {"clip": 5})
    [('a red', ''), (' fox', 'clip')]
    """
    ends = sorted({0, len(text), *(min(max(end, 0), len(text)) for end in read.values())})
    return [
        (text[start:end], ", ".join(name for name, most in read.items() if most <= start))
        for start, end in pairwise(ends)
    ]


def image_context(
    run: RunFolder,
    folder: Path,
    charts_folder: OpenFolder,
    finding: Finding,
    measurement: Measurement | None,
    charts: Charts,
) -> dict[str, Any]:
    """Draw the charts of an image into their folder, and return what its template needs beyond what all share."""
    return {
        "finding": finding,
        "measurement": measurement,
        "rungs": list(_rung_views(measurement, finding)) if measurement else [],
        "charts": _write_charts(charts_folder, finding, charts),
        "dial": _read_dial(run, finding),
        "stream_rates": [rate for one in finding.replication for rate in one.stream_rates],
        "count_copies": count_copies,
        "rate_text": rate_text,
        "closest_text": closest_text,
        "dashes": explain_dashes(finding.replication),
        "standing": standing,
        "show_replicas": show_replicas,
        "stream_label": stream_label,
        "streams_limit": STREAMS_LIMIT,
        "invmm_meaning": INVMM_MEANING,
        "invmm_limit": INVMM_LIMIT,
        "baselines": BASELINE_WORDING,
        "found": FOUND_WORDING,
        "explain_search": explain_search,
        "conditions": CONDITION_WORDING,
        "reported_only": [rung.value for rung in REPORTED_RUNGS],
        "copy_descriptors": COPY_DESCRIPTORS,
        "descriptor_lacked": DESCRIPTOR_LACKED,
        "p_value_sentence": _p_value_sentence(finding),
        "caption_sentence": caption_text(finding),
        "caption_limit": CAPTION_LIMIT,
        "part_pictures": _part_pictures(run, folder, finding),
        "part_not_tested": PART_NOT_TESTED,
        "describe_frame": describe_frame,
        "similarity_text": similarity_text,
        "measure_names": MEASURE_NAMES,
        "no_original": NO_ORIGINAL,
        "original_side": ORIGINAL_SIDE,
        "rendering_meaning": RENDERING_MEANING,
        "scored_only": SCORED_ONLY,
        "alarms": ALARM_WORDING,
        "describe_effects": describe_effects,
        "sort_alarms": sort_alarms,
    }


def _part_pictures(run: RunFolder, folder: Path, finding: Finding) -> bool:
    """Draw where target and generated image agree; whether that could be done: a replica may have been deleted."""
    if finding.part is None:
        return False
    pair = finding.part.pair
    shown = (
        (f"images/{finding.id}/target.png", pair.region, "target"),
        (finding.part.path, pair.candidate_region, "replica"),
    )
    try:
        for path, region, name in shown:
            _, picture = read_picture(run, path)
            write_png(folder / "images" / f"{finding.id}-part-{name}.png", fade_outside(picture, region))
    except InputError:
        return False
    return True


def _rung_views(measurement: Measurement, finding: Finding) -> Iterator[RungView]:
    for replication in finding.replication:
        measured = measurement.rungs[replication.rung]
        if isinstance(measured, Skipped):
            continue
        copies = find_copies(measured.replicas, replication.thresholds)
        views = [ReplicaView(replica, copied) for replica, copied in zip(measured.replicas, copies, strict=True)]
        views.sort(key=_similarity)
        read = measured.characters_read or [{}] * len(measured.texts)
        texts = [pieces_of(text, one) for text, one in zip(measured.texts, read, strict=False)]
        yield RungView(replication.rung, RUNG_WORDING[replication.rung], measured, replication, views[::-1], texts)


def show_replicas(view: RungView, side: int) -> Markup:
    """Return the list items of a rung's pictures.

    A page has dozens of them, which took most of the time of a template.
    """
    items = []
    for one in view.replicas:
        replica, copied = one.replica, one.copied
        similarity, path = replica.similarity, escape(replica.path)
        scored = escape(similarity.skipped if isinstance(similarity, Skipped) else closest_text(replica))
        if copied:
            scored += Markup(" <strong>copy</strong>")
        items.append(
            f'<li class="{"copied" if copied else ""}"><a class="replica" href="../{path}"><img src="../{path}" '
            f'width="{side}" height="{side}" alt="{"Copy" if copied else "No copy"}, {view.rung.value}, '
            f'seed {replica.seed}"></a><p>{scored}<br><small>guidance {replica.guidance_scale}, seed {replica.seed}'
            "</small></p></li>\n"
        )
    return Markup("".join(items))


def _similarity(view: ReplicaView) -> float:
    """Return what replicas are sorted by; those that could not be scored come last."""
    similarity = view.replica.similarity
    return -2.0 if isinstance(similarity, Skipped) else similarity[DECIDING_DESCRIPTOR]


def _read_dial(run: RunFolder, finding: Finding) -> Dial | None:
    """Read what `imgaudit dial` found; None where it was not run, or used other copy thresholds than the result."""
    path = run.image_folder(finding.id) / "dial.json"
    if not path.is_file():
        return None
    dial = Dial.model_validate(read_json(path))
    told = [one.thresholds for one in finding.replication if one.rung is Rung.EMBEDDING and one.stands]
    return dial if told == [dial.thresholds] else None


def _p_value_sentence(finding: Finding) -> str:
    return "" if isinstance(finding.p_value, Skipped) else P_VALUE_SENTENCE.format(p=f"{finding.p_value:.3g}")


def _write_charts(folder: OpenFolder, finding: Finding, charts: Charts) -> list[str]:
    """Write the charts that the finding has something for; their names."""
    drawn = {}
    if charts.bank is not None and not isinstance(finding.score, Skipped):
        drawn["null"] = charts.null_distribution(finding.score)
    if not isinstance(finding.error, Skipped):
        drawn["error"] = charts.error_curve(finding.error)
    for name, content in drawn.items():
        write_into(folder, f"{finding.id}-{name}.svg", content, durable=False)
    return list(drawn)
