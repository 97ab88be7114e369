from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from imgaudit.benchmark.budgets import designs, frontier, guidance, inversion_steps
from imgaudit.benchmark.budgets.designs import measure_designs
from imgaudit.benchmark.budgets.dori import count_evaluations, measure_dori
from imgaudit.benchmark.budgets.frontier import measure_frontier, report_frontier
from imgaudit.benchmark.budgets.guidance import measure_guidance
from imgaudit.benchmark.budgets.inversion_steps import measure_budget, report_budget
from imgaudit.benchmark.budgets.invmm_baseline import measure_invmm, rank_failures_last, run_invmm
from imgaudit.benchmark.budgets.stopping import StoppingRule, replay
from imgaudit.benchmark.budgets.trajectories import ForcingConfig, Trajectories, record
from imgaudit.benchmark.harness.budget_table import BudgetRow, budget_points, read_rows, write_rows
from imgaudit.benchmark.harness.cases import CaseCounts, Group, locate
from imgaudit.benchmark.harness.lab_model import LabModel
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.harness.scoring import measure_scores
from imgaudit.benchmark.methods.invmm_scores import measure_invmm_scores, report_invmm
from imgaudit.cli import app
from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.inversion import invert
from imgaudit.exceptions import InputError, RunFolderError
from imgaudit.io.captions import CaptionSource
from imgaudit.io.portfolio import Portfolio, read_portfolio
from imgaudit.lab.corpus import CorpusEntry, assign_roles, write_corpus
from imgaudit.lab.examination import describe_lab
from imgaudit.lab.training import save_pipeline, train_lab
from imgaudit.models import load_model
from imgaudit.schema.protocol import ErrorConfig, Framing, GenerationConfig, InversionConfig, InvMMConfig, Protocol
from tests.conftest import CAPTIONS, random_image, tiny_recipe

COUNTS = CaseCounts(controls=3, held_out=3, seen_once=1)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> LabWork:
    """A tiny trained lab, two of whose planted images are declared memorised."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "corpus").mkdir()
    entries = []
    for seed in range(18):
        path = folder / "corpus" / f"{seed:02d}.png"
        random_image(seed, (16, 16)).save(path)
        entries.append(CorpusEntry(path, f"{CAPTIONS[seed % 6]} {seed}"))
    write_corpus(entries, folder / "corpus")
    recipe = tiny_recipe(planted=3, seen_once=2, held_out=6, planted_repeats=(1, 2))
    entries = assign_roles(entries, recipe)
    trained = train_lab(entries, recipe, folder)
    save_pipeline(trained.pipeline, folder / "model")
    loaded = load_model(str(folder / "model"), "cpu")
    description = describe_lab(entries, recipe, trained, loaded.denoiser, Executor(64))  # type: ignore[arg-type]
    planted = [image.sha256 for image in description.with_role("planted")]
    images = [
        image.model_copy(update={"reproduced": 64 if image.sha256 in planted[:2] else 0})
        for image in description.images
    ]
    description = description.model_copy(update={"images": images})
    description.write(folder / "lab.json")
    return LabWork(LabModel(folder, description, loaded), locate(folder / "corpus"), folder, 1, Executor(64))


@pytest.fixture(scope="module")
def portfolio(lab: LabWork) -> Portfolio:
    whole = read_portfolio(lab.folder / "corpus", CaptionSource(lab.folder / "corpus"))
    return Portfolio(whole.targets[:3], [])


def test_a_shorter_budget_is_a_prefix_of_a_longer_one(lab, portfolio: Portfolio, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    short, long = (
        record(
            replace(lab, folder=tmp_path / str(steps)), portfolio, InversionConfig(steps=steps, draws=2), (2,),
            chunk_size=2,
        )
        for steps in (2, 4)
    )  # fmt: skip
    assert np.array_equal(long.conditional[:, :2], short.conditional) and np.array_equal(long.null[:, :2], short.null)
    assert np.array_equal(long.fresh_log_ratio(2), short.fresh_log_ratio(2))
    assert np.array_equal(long.own_log_ratio(2, 8), short.own_log_ratio(2, 8))


def test_a_recording_is_resumed_and_refuses_another_design(lab, portfolio: Portfolio, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    denoiser = lab.denoiser

    def again(config: InversionConfig) -> Trajectories:
        forcing = ForcingConfig((2,), seeds=2, num_inference_steps=2)
        return record(replace(lab, folder=tmp_path), portfolio, config, (2,), forcing=forcing, chunk_size=2)

    first = again(InversionConfig(steps=2, draws=2))
    before = denoiser.network_evaluations
    second = again(InversionConfig(steps=2, draws=2))
    assert denoiser.network_evaluations == before
    assert np.array_equal(first.forced_rms, second.forced_rms) and first.forced_rms.shape == (3, 1, 2)
    with pytest.raises(InputError, match="another design"):
        again(InversionConfig(steps=2, draws=4))


def test_snapshots_show_the_embeddings_that_inversion_ends_with(lab) -> None:  # type: ignore[no-untyped-def]
    denoiser = lab.denoiser
    latents = torch.randn((1, *denoiser.latent_shape), generator=torch.Generator().manual_seed(0))
    seen: dict[int, PromptEmbeds] = {}
    inversion = invert(
        denoiser, latents, ["00"], InversionConfig(steps=3, draws=2), run_seed=0, executor=Executor(64),
        on_step=lambda step, embeds: seen.update({step: PromptEmbeds({"text": embeds.streams["text"].clone()}, {})}),
    )  # fmt: skip
    assert list(seen) == [1, 2, 3]
    assert torch.equal(seen[3].streams["text"], inversion.prompt_embeds.streams["text"])
    assert not torch.equal(seen[2].streams["text"], seen[3].streams["text"])


def test_only_the_first_tokens_move_when_the_others_are_held(lab) -> None:  # type: ignore[no-untyped-def]
    denoiser = lab.denoiser
    latents = torch.randn((1, *denoiser.latent_shape), generator=torch.Generator().manual_seed(0))
    config = InversionConfig(steps=2, draws=2, free_tokens=2)
    [inverted] = invert(denoiser, latents, ["00"], config, run_seed=0, executor=Executor(64)).prompt_embeds.streams[
        "text"
    ]
    moved = (inverted != denoiser.null_condition().streams["text"][0]).any(dim=1)
    assert moved.tolist() == [False, True, True, *[False] * 5]


def rows_of(
    values: Mapping[str, tuple[Group, str, float]], design: str = "imgaudit", evaluations: int = 10
) -> list[BudgetRow]:
    return [
        BudgetRow(design, "fresh", 8, evaluations, name, group, 3, 0, "bank" if use == "bank" else "measured", value)
        for name, (group, use, value) in values.items()
    ]


def perfect(design: str, evaluations: int, memorised: int = 4) -> list[BudgetRow]:
    cases = {f"c{n}": (Group.HELD_OUT, "bank", n / 100) for n in range(99)}
    cases |= {f"m{n}": (Group.MEMORISED, "measured", 5.0) for n in range(memorised)}
    cases |= {f"h{n}": (Group.HELD_OUT, "measured", 0.5) for n in range(10)}
    return rows_of(cases, design, evaluations)


def test_points_have_rates_with_denominators_and_survive_the_disk(tmp_path: Path) -> None:
    rows = perfect("imgaudit", 10)
    write_rows(rows, tmp_path / "rows.csv")
    assert read_rows(tmp_path / "rows.csv") == rows
    [point] = budget_points(rows)
    assert point.controls == 99 and point.held_out is not None and point.held_out.auc == 1
    assert [(one.hits, one.n) for one in point.detected] == [(4, 4), (4, 4)]
    assert [(one.hits, one.n) for one in point.false] == [(0, 10), (0, 10)]
    assert point.seen_once is None and point.faint is None
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="not a budget table"):
        read_rows(tmp_path / "other.csv")


def test_the_frontier_compares_at_equal_detection() -> None:
    report = report_frontier([*perfect("imgaudit", 100), *perfect("DoRI", 450)])
    [target] = report.targets
    assert not target.met and target.got.startswith("4.5x")
    [few] = report_frontier([*perfect("imgaudit", 90), *perfect("DoRI", 450)]).targets
    assert not few.met and few.got.startswith("5.0x"), "four images show no rate"
    [many] = report_frontier([*perfect("imgaudit", 90, 100), *perfect("DoRI", 450, 100)]).targets
    assert many.met
    [dear] = report_frontier([*perfect("imgaudit", 100, 100), *perfect("DoRI", 450, 100)]).targets
    assert not dear.met, "network evaluations are counted, whatever the interval"
    # A cheaper budget of the lab that is reported on does not count: it was not chosen beforehand.
    picked = [row._replace(steps=3, evaluations=20) for row in perfect("imgaudit", 90)]
    assert report_frontier([*picked, *perfect("DoRI", 450)]).targets == []


def test_the_budget_curve_says_when_held_out_images_come_out() -> None:
    def row(steps: int, group: Group, rms: float) -> BudgetRow:
        return BudgetRow("imgaudit", inversion_steps.NEAREST, steps, 1, f"{group}{rms}", group, 0, 0, "measured", -rms)

    rows = [row(steps, Group.HELD_OUT, rms) for steps in (10, 20) for rms in (0.3, 0.05 if steps == 20 else 0.2)]
    report = report_budget([*rows, row(10, Group.MEMORISED, 0.02)])
    assert report.begins == 20
    assert [(one.name, one.hits, one.n) for one in report.forced if one.group == Group.HELD_OUT] == [
        ("10 steps", 0, 2),
        ("20 steps", 1, 2),
    ]


@pytest.mark.slow
def test_every_benchmark_runs_on_a_lab_and_its_table_gives_the_same_report(  # type: ignore[no-untyped-def]
    lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = replace(lab, folder=tmp_path)
    monkeypatch.setattr(designs, "STEPS", 4)
    monkeypatch.setattr(designs, "SNAPSHOTS", (1, 2))
    monkeypatch.setattr(inversion_steps, "STEPS", 3)
    monkeypatch.setattr(inversion_steps, "SNAPSHOTS", (1, 3))
    monkeypatch.setattr(inversion_steps, "FORCING", ForcingConfig((1, 3), seeds=2, num_inference_steps=2))
    monkeypatch.setattr(frontier, "STEPS", 3)
    rule = StoppingRule(0.05, every=1, longest=2)
    monkeypatch.setattr(frontier, "CHOSEN", rule)
    monkeypatch.setattr(designs, "CONSIDERED", (rule,))
    monkeypatch.setattr(frontier, "SNAPSHOTS", (1, 3))
    monkeypatch.setattr("imgaudit.benchmark.budgets.dori.INFERENCE_STEPS", 2)

    chosen = [replace_snapshots(design) for design in designs.designs(1.0)]
    monkeypatch.setattr(designs, "designs", lambda scale: chosen)
    monkeypatch.setattr(designs, "standard_design", lambda: chosen[0].config)
    rows = measure_designs(work, COUNTS)
    names = {row.design for row in rows}
    assert "initialisation: best of 3 random starts" in names
    assert {"score: log ratio, all timesteps", "score: log ratio, adjusted for complexity"} <= names

    monkeypatch.setattr(guidance, "SETTINGS", ((1.0, 2), (3.0, 2)))
    rows = measure_guidance(work, COUNTS)
    assert len(budget_points(rows)) == 4 and len(rows) == 4 * 5

    rows = measure_budget(work, COUNTS)
    assert {row.group for row in rows} == {Group.MEMORISED, Group.HELD_OUT}
    assert {one.n for one in report_budget(rows).forced} == {2, 3}

    rows = measure_frontier(work, COUNTS)
    rows += measure_dori(work, COUNTS)
    quick = InvMMConfig(steps=2, check_every=2, num_inference_steps=2, guidance_scales=(1.0,))
    rows += measure_invmm(work, COUNTS, quick)
    write_rows(rows, tmp_path / "frontier.csv")
    report = report_frontier(rows)
    assert {point.design for point in report.points} == {"imgaudit", rule.name, "DoRI", "InvMM"}
    dori = next(point for point in report.points if point.design == "DoRI")
    assert dori.evaluations == count_evaluations() == 2 * 50 * 8 + 2 * 10 * 2
    result = CliRunner().invoke(app, ["benchmark", "frontier", "--table", str(tmp_path / "frontier.csv")])
    assert result.exit_code == 0 and "against DoRI" in result.stdout


@pytest.mark.slow
def test_an_invmm_table_is_made_from_a_lab_and_read_again(  # type: ignore[no-untyped-def]
    lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imgaudit.benchmark.budgets.dori.INFERENCE_STEPS", 2)
    quick = InvMMConfig(steps=2, draws=2, check_every=1, num_inference_steps=2, similarity=-1.0, gate_margin=None)
    easy = measure_invmm_scores(replace(lab, folder=tmp_path / "easy"), quick, 2, COUNTS)
    assert [row.steps for row in easy.rows] == [1] * 4 and easy.condition == "mixture"
    assert {row.embedding_evaluations for row in easy.rows} == {2 * 50 * 8 + 2 * 10 * 2}
    hard = quick.model_copy(update={"similarity": 1.1})
    failed = measure_invmm_scores(replace(lab, folder=tmp_path / "hard"), hard, 2, COUNTS)
    assert {row.kl_per_dimension for row in failed.rows} == {None}
    mixed = easy.model_copy(
        update={
            "rows": [
                one if one.group is Group.MEMORISED else other
                for one, other in zip(easy.rows, failed.rows, strict=True)
            ]
        }
    )
    report = report_invmm(mixed)
    # Two images on either side show nothing: the interval of a perfect separation reaches down to 0.39.
    assert report.separations[0].auc == 1.0 and not report.targets[0].met and report.medians[Group.HELD_OUT] is None
    assert report_invmm(failed).separations[0].auc == 0.5 and not report_invmm(failed).targets[0].met
    (tmp_path / "invmm.json").write_text(mixed.model_dump_json(), encoding="utf-8")
    result = CliRunner().invoke(app, ["benchmark", "invmm", "--table", str(tmp_path / "invmm.json")])
    assert result.exit_code == 0 and "MISSED AUC, InvMM" in result.stdout and "none, most failed" in result.stdout


def replace_snapshots(design: designs.Design) -> designs.Design:
    return design._replace(snapshots=(1, 2), config=design.config.model_copy(update={"steps": 2, "draws": 2}))


@pytest.mark.slow
def test_a_detection_table_is_made_from_a_lab_without_a_bank(  # type: ignore[no-untyped-def]
    lab, tmp_path: Path
) -> None:
    small = Protocol(
        framing=Framing.PAD,
        inversion=InversionConfig(steps=2, draws=2),
        error=ErrorConfig(after_steps=1),
        generation=GenerationConfig(seeds=2, num_inference_steps=2),
    )
    table = measure_scores(replace(lab, folder=tmp_path / "work"), small, command=["imgaudit"], counts=COUNTS)
    assert len(table.bank) == 3 and len(table.rows) == 3 + 1 + 3
    table.write(tmp_path / "scores.json")
    result = CliRunner().invoke(app, ["benchmark", "detection", "--table", str(tmp_path / "scores.json")])
    assert result.exit_code == 0 and "3 controls in the bank" in result.stdout
    # A folder with a run of other options is refused before the controls are measured, not after.
    (tmp_path / "work" / "calibration.json").unlink()
    with pytest.raises(RunFolderError, match=r"with other options: .*Give the options that it was begun with"):
        measure_scores(replace(lab, folder=tmp_path / "work", seed=7), small, command=["imgaudit"], counts=COUNTS)
    assert not (tmp_path / "work" / "calibration.json").exists()


def test_invmm_stops_at_the_first_success_and_ranks_failures_last(lab, portfolio: Portfolio) -> None:  # type: ignore[no-untyped-def]
    config = InvMMConfig(
        steps=4, draws=2, check_every=2, noises=2, guidance_scales=(1.0, 2.0), num_inference_steps=2, similarity=-1.0,
        gate_margin=None,
    )  # fmt: skip
    [easy] = run_invmm(lab, portfolio.targets[:1], config)
    assert easy.succeeded and easy.steps == 2 and easy.kl_per_dimension > 0
    assert easy.network_evaluations == 2 * 2 * 2 + 2 * 2
    [hard] = run_invmm(lab, portfolio.targets[:1], config.model_copy(update={"similarity": 1.1}))
    # The first sample of every check and scale is below the mark, so that the second is never made.
    assert not hard.succeeded and hard.network_evaluations == 2 * 4 * 2 + 2 * (2 + 2 * 2)
    assert rank_failures_last([easy, hard])[0] > rank_failures_last([easy, hard])[1]


def test_a_stopping_rule_ends_early_exactly_where_it_says(lab, portfolio: Portfolio, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    recorded = record(replace(lab, folder=tmp_path), portfolio, InversionConfig(steps=6, draws=2), (6,))
    ratio = np.array([0.01, 0.2, 0.9])
    chosen = replace(recorded, conditional=np.ones_like(recorded.conditional),
                     null=np.broadcast_to(np.exp(ratio)[:, None, None], recorded.null.shape))  # fmt: skip
    steps, scores = replay(chosen, StoppingRule(0.05, above=0.5, every=2, longest=6))
    assert steps.tolist() == [2, 6, 2] and scores == pytest.approx(ratio)
    steps, _ = replay(chosen, StoppingRule(0.05, every=2, longest=6))
    assert steps.tolist() == [2, 6, 6]
