"""Every kind of page that imgaudit writes, of made-up results with names and texts that are hard to show."""

import json
import re
from pathlib import Path

from PIL import Image

from imgaudit.benchmark.reports.run import make_run
from imgaudit.io.tables import TablePrompt
from imgaudit.mitigation.evaluation import EvaluationSettings, ModelOutcome, PromptOutcome
from imgaudit.mitigation.evaluation_summary import EvaluationTable, summarise
from imgaudit.report import write_comparison, write_report
from imgaudit.report.complaint.package import make_package, write_package
from imgaudit.report.counsel.document import render_counsel
from imgaudit.report.detection import write_detection
from imgaudit.report.match import write_match
from imgaudit.report.mitigation import write_mitigation
from imgaudit.report.triggers import write_triggers
from imgaudit.runs.comparison.compare import compare
from imgaudit.runs.detection import DetectionOutcome, JudgedPrompt
from imgaudit.runs.finished import read_finished_run
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.trigger_images import image_name
from imgaudit.runs.triggers import TriggerOutcome
from imgaudit.schema.detection import Magnitude, PromptDetection, PromptDetectionSettings, PromptSkipped, WordWeight
from imgaudit.schema.findings import AuditResult, Verdict
from imgaudit.schema.manifest import DetectionManifest, KnownModel, TriggerManifest
from imgaudit.schema.match import ClosestImage, MatchResult, Seen, TargetMatch, WholeThresholds
from imgaudit.schema.pairs import PairEvidence, PairThresholds, Region
from imgaudit.schema.records import Skipped, SkippedImage
from imgaudit.schema.triggers import (
    CandidateImage,
    ClosestTarget,
    Cluster,
    FoundPrompt,
    ImageSettings,
    SearchSettings,
    Trigger,
)

LONG = "harbour" * 33 + ".png"
"""A name without a place to break it."""

RIGHT_TO_LEFT = "منارة 12 (نسخة 3)، 1904.png"
"""An Arabic name with numbers and signs, whose order depends on what stands around it."""

MARKUP = '</td></table><b onclick="x()">bold</b> &lt; {{7*7}} ${x}.png'
"""A name that looks like part of a page."""

WIDE = "灯台と港の風景" * 12 + ".png"
"""A long name in a script without spaces."""

DIFFICULT = (LONG, RIGHT_TO_LEFT, MARKUP, WIDE)
"""Names and texts that are hard to show; none does harm."""

FINGERPRINTS = ("ab" * 32, "cd" * 32)
"""Of the models."""

VERSIONS = {"imgaudit": "0.0", "python": "3.11"}
STARTED = "2026-01-01T00:00:00+00:00"


def write_runs(folder: Path) -> list[RunFolder]:
    """Write two finished runs of the same 24 images, four of which have difficult names, with their pages."""
    made = [make_run(folder / f"run-{name}", 24, side=24, seed=seed) for name, seed in (("a", 3), ("b", 4))]
    chosen = {one.verdict: one for one in made[0].findings}
    first = [*chosen.values(), *(one for one in made[0].findings if one not in chosen.values())]
    names = {Path(one.path).name: new for one, new in zip(first, DIFFICULT, strict=False)}
    runs = [RunFolder(folder / f"run-{name}") for name in "ab"]
    for run, fingerprint in zip(runs, FINGERPRINTS, strict=True):
        for path in (run.report_path, run.manifest_path, run.records_path, run.calibration_path):
            text = path.read_text(encoding="utf-8")
            text = re.sub(r'(fingerprint": ?)"0{64}"', rf'\1"{fingerprint}"', text)
            for old, new in names.items():
                text = text.replace(_as_json(old), _as_json(new.replace("/", "∕")))
            path.write_text(text, encoding="utf-8")
        write_report(run, AuditResult.model_validate_json(run.report_path.read_bytes()))
    return runs


def _as_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def write_pages(folder: Path) -> dict[str, Path]:
    """Write every kind of page; return them by name."""
    runs = write_runs(folder)
    a, b = (read_finished_run(run.path) for run in runs)
    named = {one.verdict: one for one in a.result.findings if Path(one.path).name.replace("∕", "/") in DIFFICULT}
    reproduced, missed = named[Verdict.REPLICATED], named[Verdict.NOT_REPRODUCED]
    package = write_package(make_package(a, reproduced), folder / "complaint", a)
    counsel = folder / "counsel.html"
    counsel.write_text(render_counsel(a), encoding="utf-8")
    report = runs[0].path / "report"
    return {
        "index": report / "index.html",
        "image": report / f"{reproduced.id}.html",
        "not reproduced": report / f"{missed.id}.html",
        "list": report / "list-0001.html",
        "glossary": report / "glossary.html",
        "comparison": write_comparison(folder / "comparison", compare(a, b), a.folder, b.folder),
        "detection": write_detection(folder / "detection", detection_outcome()),
        "match": write_match(folder / "match", *match_result(folder / "pictures")),
        "triggers": write_triggers(folder / "triggers", trigger_outcome(folder / "triggers"), [_closest_target()]),
        "mitigation": write_mitigation(folder / "mitigation", mitigation_table(), summarise(mitigation_table())),
        "complaint": package / "complaint.html",
        "counsel": counsel,
    }


def _model() -> KnownModel:
    return KnownModel(
        name=MARKUP, pipeline_class="StableDiffusionPipeline", fingerprint=FINGERPRINTS[0], resolution=64,
        prediction_type="epsilon",
    )  # fmt: skip


def detection_outcome() -> DetectionOutcome:
    """Return detected prompts with difficult texts, with controls, and one that has no score."""
    manifest = DetectionManifest(
        command=["imgaudit", "detect"], model=_model(), versions=VERSIONS, device="cpu", started=STARTED,
        settings=PromptDetectionSettings(), prompts_sha256="12" * 32, controls_sha256="34" * 32, batch_size=8,
    )  # fmt: skip
    prompts = []
    for number, text in enumerate([*DIFFICULT, "a lighthouse at dusk"], start=1):
        words = tuple(
            WordWeight(text=text[start : start + 5], weight=1 / (1 + start), start=start, end=start + 5)
            for start in range(0, 20, 5)
        )
        norm = Magnitude(raw=9.0 / number, rms=0.1)
        found = PromptDetection(
            prompt=text, space="epsilon", score=9.0 / number, rms=0.1, native=norm, epsilon=norm, by_seed=(1.0,),
            tokens=words, cut={"clip": 3} if number == 1 else {},
        )  # fmt: skip
        prompts.append(JudgedPrompt(number, TablePrompt(text, {}), found, 0.01 * number, 0.02 * number))
    none = Skipped(skipped="the prompt has no score")
    lost = PromptSkipped(prompt=RIGHT_TO_LEFT * 20, skipped="the prompt is longer than 10,000 characters")
    prompts.append(JudgedPrompt(len(prompts) + 1, TablePrompt(lost.prompt, {}), lost, none, none))
    return DetectionOutcome(manifest, prompts, 99, 1)


def match_result(pictures: Path) -> tuple[MatchResult, dict[str, Path]]:
    """Return a match with every conclusion, and the pictures by id."""
    pictures.mkdir()
    files, matches = {}, []
    conclusions: tuple[Seen, ...] = ("copy", "partial", "inconclusive", "not seen")
    for number, (seen, name) in enumerate(zip(conclusions, DIFFICULT, strict=True)):
        digests = [f"{2 * number + place:064x}" for place in (1, 2)]
        for digest in digests:
            files[digest[-16:]] = pictures / f"{digest[-16:]}.png"
            Image.linear_gradient("L").resize((60, 90)).convert("RGB").save(files[digest[-16:]])
        whole = Region(runs=(0, 64 * 64), area=1.0, box=None)
        evidence = PairEvidence(
            geometric=9.0, photometric=5.0, inliers=40, matches=50, transform=Skipped(skipped="none"), region=whole,
            candidate_region=whole,
        )  # fmt: skip
        matches.append(
            TargetMatch(
                id=digests[0][-16:], path=f"/portfolio/{name}", sha256=digests[0], seen=seen,
                reason=f"In one sentence, q = 0.0{number + 1}.", images=2 if seen == "copy" else 0, p_value=0.01,
                q_value=0.02, by="whole" if number == 2 else "parts",
                closest=ClosestImage(
                    path=f"/given/{name}", id=digests[1][-16:], evidence=evidence,
                    similarity=0.9 if number else None, worst_quarter=0.7 if number else None,
                ),
            )
        )  # fmt: skip
    thresholds = PairThresholds(geometric=3.0, photometric=2.0, level=0.05, pairs=99)
    result = MatchResult(
        images_folder=MARKUP, images=8, decoys=99, level=0.05, thresholds=thresholds,
        whole_thresholds=WholeThresholds(similarity=0.6, worst_quarter=0.3),
        targets=matches, skipped=[SkippedImage(path=LONG, skipped="the file is truncated")], versions=VERSIONS,
    )  # fmt: skip
    return result, files


def trigger_outcome(folder: Path) -> TriggerOutcome:
    """Return a search that found one image with difficult prompts."""
    cluster = Cluster(size=3, n=3, low=0.29, high=1.0, members=(0, 1, 2), representative=0)
    triggers = []
    for number, text in enumerate(DIFFICULT):
        found = FoundPrompt(prompt=text, squared_magnitude=9.0 - number, rms=0.1, chain=number, changed=0)
        triggers.append(Trigger(found=found, folder=f"images/{number}", invalid=0, cluster=cluster, blank=False))
        for place in cluster.members:
            (folder / f"images/{number}").mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (40 * place, 90, 120)).save(folder / f"images/{number}" / image_name(place))
    candidate = CandidateImage(
        representative=f"images/0/{image_name(0)}", prompts=(0, 1, 2, 3), chains=(0, 1), largest=cluster
    )
    manifest = TriggerManifest(
        command=["imgaudit", "triggers"], model=_model(), versions=VERSIONS, device="cpu", started=STARTED,
        search=SearchSettings(), images=ImageSettings(), proposal="words", proposal_sha256="56" * 32, batch_size=8,
    )  # fmt: skip
    return TriggerOutcome(
        manifest=manifest, space="epsilon", blind="", scale=1.0, temperature=0.3, measured=9, network_evaluations=40,
        triggers=tuple(triggers), candidates=(candidate,),
    )  # fmt: skip


def _closest_target() -> ClosestTarget:
    return ClosestTarget(path=RIGHT_TO_LEFT, similarity=0.99, near_copy=True)


def mitigation_table() -> EvaluationTable:
    """Return an evaluation of one mitigation."""
    none = Skipped(skipped="no CLIP was given")
    prompts = [
        PromptOutcome(
            sha256=f"{number:016x}", similarity=[0.9, 0.5], alignment=none, retrieved=none, aesthetic=none, unusable=0,
            error=0.1, response=0.2,
        )
        for number in range(4)
    ]  # fmt: skip
    models = [
        ModelOutcome(name=name, fingerprint=digest, triggers=prompts, general=prompts, network_evaluations=9, seconds=1)
        for name, digest in zip(("as it is", MARKUP), FINGERPRINTS, strict=True)
    ]
    return EvaluationTable(
        model=MARKUP, settings=EvaluationSettings(images=2), clip=none, aesthetic=none, copy_free=none,
        hardware="this machine", models=models,
    )  # fmt: skip
