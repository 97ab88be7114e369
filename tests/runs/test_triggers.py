"""`imgaudit triggers`: its output, messages and page, and the table of its benchmark."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser
from typer.testing import CliRunner

from imgaudit.benchmark.harness.figures import Goal
from imgaudit.benchmark.harness.lab_model import LabModel
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.methods.trigger_search import (
    EACH_WORD,
    IMAGES,
    LIKE_CAPTIONS,
    SEARCH,
    SEARCHED,
    UNIFORM,
    TriggerRow,
    TriggerTable,
    format_triggers,
    measure_triggers,
    report_triggers,
)
from imgaudit.cli import app
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.word_proposals import VocabularyProposal
from imgaudit.exceptions import ConfigError, ImgauditError, InputError, RunFolderError
from imgaudit.io.framing import to_image
from imgaudit.io.writing import write_png
from imgaudit.lab.description import LabDescription
from imgaudit.models import FiniteSetDenoiser, load_model
from imgaudit.models.loading import LoadedModel
from imgaudit.report.triggers import write_triggers
from imgaudit.runs.trigger_images import image_name, prompt_folder
from imgaudit.runs.triggers import TriggerOutcome, trigger_manifest
from imgaudit.schema.triggers import CandidateImage, ClosestTarget, FoundPrompt, ImageSettings, SearchSettings, Trigger
from imgaudit.similarity.clusters import find_largest_cluster
from imgaudit.similarity.descriptors import PixelDescriptor
from tests.benchmark.methods.test_prompt_scores import lab_image
from tests.conftest import tiny_recipe
from tests.models.test_masked_lm import bert as bert
from tests.runs.test_detection import HOSTILE, Checked

SMALL = ["--chains", "2", "--iterations", "2", "--candidates", "4", "--images", "3", "--num-inference-steps", "2",
         "--quiet"]  # fmt: skip


def run(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["triggers", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    if "--json" not in arguments:
        assert all(len(line) <= 80 for line in result.stdout.splitlines()), result.stdout
    return result.stdout


def test_the_command_finds_resumes_and_compares(model_folder: Path, tmp_path: Path) -> None:
    words, out = tmp_path / "words.txt", tmp_path / "out"
    words.write_text("a red fox\ntwo blue boats\nthe green hill\n", encoding="utf-8")
    given = ["--model", model_folder, "--out", out, "--words-file", words, "--eps", "0.9", *SMALL, "--images", "8"]
    lines = [json.loads(line) for line in run(*given, "--json").splitlines()]
    prompts = [one for one in lines if "prompt" in one]
    assert prompts and prompts == [
        json.loads(line) for line in (out / "triggers.jsonl").read_text("utf-8").splitlines()
    ]
    for one in prompts:
        assert one["rms"] == pytest.approx((one["squared_magnitude"] / 256) ** 0.5)
        assert one["share_low"] <= one["cluster"] / one["images"] <= one["share_high"]
        assert len(list((out / one["folder"]).glob("*.png"))) == 8
    text = run(*given)
    assert "does not prove that the image was in the training set" in text
    assert json.loads((out / "candidates.json").read_text("utf-8"))["what_this_says"].startswith("A cluster means")
    candidates = [one["candidate"] for one in lines if "candidate" in one]
    assert candidates
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "a.png").write_bytes((out / candidates[0]["representative"]).read_bytes())
    compared = [json.loads(line) for line in run(*given, "--json", "--targets", mine, code=1).splitlines()]
    closest = [one["candidate"]["closest_target"] for one in compared if "candidate" in one]
    assert closest[0]["near_copy"] and closest[0]["path"].endswith("a.png")


def test_words_come_from_a_masked_language_model(bert: Path, model_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = ["--model", model_folder, "--out", out, "--words", "3", *SMALL]
    rows = run(*given, "--masked-lm", bert, "--json").splitlines()
    prompts = [json.loads(row)["prompt"] for row in rows if "prompt" in json.loads(row)]
    assert prompts and all(len(prompt.split()) == 3 for prompt in prompts)
    assert "masked language model 'tiny'" in json.loads((out / "manifest.json").read_text("utf-8"))["proposal"]
    with pytest.raises(RunFolderError, match="other words"):
        run(*given)


def test_every_word_is_measured_by_itself(model_folder: Path, tmp_path: Path) -> None:
    words, out = tmp_path / "words.txt", tmp_path / "out"
    words.write_text("a red fox\ntwo blue boats\na fox\n", encoding="utf-8")
    given = ["--model", model_folder, "--out", out, "--words-file", words, "--eps", "0.9", "--each-word", *SMALL]
    rows = [json.loads(line) for line in run(*given, "--json").splitlines()]
    lines = (out / "measured.jsonl").read_text("utf-8").splitlines()
    measured = {name for line in lines for name in json.loads(line)["measured"]}
    # 2 chains of 2 steps with 4 candidates would measure 12 prompts, and the file has 6 words.
    assert measured == {"a", "red", "fox", "two", "blue", "boats"}
    # As many prompts as of 2 chains, 2 each.
    assert len([one for one in rows if "prompt" in one]) == 4 and all(one.get("chain", 0) == 0 for one in rows)
    text = run(*given)
    assert "chains" not in text and "K =" not in text and "6 prompts measured with 28 network evaluations" in text
    page = (out / "report" / "index.html").read_text("utf-8")
    assert "takes every word by itself" in page and "Chain" not in page
    # The most frequent words first, at most as many as a search would measure.
    few = ["--chains", "1", "--iterations", "1", "--candidates", "3", "--images", "3", "--num-inference-steps", "2"]
    run("--model", model_folder, "--out", tmp_path / "few", "--words-file", words, "--each-word", *few, "--quiet")
    lines = (tmp_path / "few" / "measured.jsonl").read_text("utf-8").splitlines()
    assert {name for line in lines for name in json.loads(line)["measured"]} == {"a", "fox"}


def test_around_a_known_trigger(model_folder: Path, tmp_path: Path) -> None:
    text = run("--model", model_folder, "--out", tmp_path / "out", "--from", "a red fox", *SMALL)
    assert "prompts kept by number of changed words:" in text
    assert "at most 3 prompts" not in text
    text = run("--model", "demo", "--from", "a red fox", "--dry-run", *SMALL)
    assert "3 searches (chains) of 2 steps" in text and "19 prompts to measure: 80 network evaluations" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (["--temperature", "0"], ConfigError, "--temperature: "),
        (["--temperature", "nan"], ConfigError, "--temperature: "),
        (["--eps", "1"], ConfigError, "--eps: "),
        (["--words-file", __file__, "--masked-lm", str(Path(__file__).parent)], ConfigError, "give one of them"),
        (["--each-word", "--masked-lm", str(Path(__file__).parent)], ConfigError, "neither --from nor --masked-lm"),
        (["--descriptor", "aura"], ConfigError, "there is no descriptor"),
        (["--from", "\x00 "], ImgauditError, "does not move"),
        (["--words-file", "/nowhere"], InputError, "there is no '/nowhere'"),
    ],
)
def test_messages(options: list[str], error: type[Exception], message: str, model_folder: Path, tmp_path: Path) -> None:
    if "--from" in options:
        options = ["--from", "   "]
        message = "no word"
    with pytest.raises(error, match=message):
        run("--model", model_folder, "--out", tmp_path / "out", *SMALL, *options)


def outcome_of(model_folder: Path, folder: Path, texts: list[str]) -> TriggerOutcome:
    """A search whose every prompt is hostile and gave the same image."""
    words = VocabularyProposal({"<b>": 1, "{{7*7}}": 1}, "<i>words\x1b[31m")
    search = SearchSettings(start="<script>alert(1)</script> \u202efox")
    loaded = load_model(str(model_folder), "cpu")
    manifest = trigger_manifest(["imgaudit"], loaded, search, ImageSettings(images=3), words, 8)
    images = [torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1] * 3
    cluster = find_largest_cluster(PixelDescriptor(), images, 0.1)
    triggers = []
    for number, text in enumerate(texts):
        for place, image in enumerate(images):
            write_png(folder / prompt_folder(text) / image_name(place), to_image(image))
        found = FoundPrompt(prompt=text, squared_magnitude=9.0 - number, rms=0.1, chain=number, changed=1)
        triggers.append(Trigger(found=found, folder=prompt_folder(text), invalid=0, cluster=cluster, blank=False))
    candidate = CandidateImage(
        representative=f"{triggers[0].folder}/000.png", prompts=tuple(range(len(texts))),
        chains=tuple(range(len(texts))), largest=cluster,
    )  # fmt: skip
    return TriggerOutcome(
        manifest=manifest, space="epsilon", blind="", scale=1.0, temperature=0.1, measured=9, network_evaluations=40,
        triggers=tuple(triggers), candidates=(candidate,),
    )  # fmt: skip


@pytest.mark.browser
def test_hostile_prompts_are_text_on_the_page(browser: Browser, model_folder: Path, tmp_path: Path) -> None:
    outcome = outcome_of(model_folder, tmp_path, HOSTILE)
    target = ClosestTarget(path="<img src=x onerror=alert(1)>.png", similarity=0.99, near_copy=True)
    page_path = write_triggers(tmp_path, outcome, [target])
    text = page_path.read_text(encoding="utf-8")
    checked = Checked()
    checked.feed(text)
    assert not checked.bad
    assert not [letter for letter in text if not letter.isprintable() and letter != "\n"]
    page = browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(page_path.as_uri())
    assert page.locator("article.candidate").count() == 1
    page.locator(".pictures").scroll_into_view_if_needed()
    page.wait_for_function("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert page.locator(".pictures img").count() == 3
    assert page.locator("table.triggers tbody tr").count() == len(HOSTILE)
    assert "<script>alert(1)</script> fox" in page.inner_text("table.triggers")
    assert "does not prove" in page.inner_text(".banner") and "a near copy" in page.inner_text("article.candidate")
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.close()
    assert not complaints and all(url.startswith("file://") for url in requests)


def table(**rows: tuple[int, tuple[str, ...], int]) -> TriggerTable:
    names = {"search": SEARCHED, "captions": LIKE_CAPTIONS, "uniform": UNIFORM, "words": EACH_WORD}
    return TriggerTable(
        lab="tiny", seed=1, hardware="x", search=SEARCH, images=IMAGES, proposal="words", space="epsilon", scale=1.0,
        memorised=4,
        rows=[
            TriggerRow(name=names[key], measured=measured, prompts=9, clusters=len(found) + unplanted, found=found,
                       other_planted=0, unplanted=unplanted, median=1.0)
            for key, (measured, found, unplanted) in rows.items()
        ],
    )  # fmt: skip


def test_the_goals_of_the_benchmark() -> None:
    report = report_triggers(table(search=(100, ("a", "b"), 1), captions=(100, ("a",), 0), uniform=(100, (), 0)))
    assert [str(one) for one in report.rates[:2]] == ["2 of 4 (50.0%, 6.8% to 93.2%)", "1 of 4 (25.0%, 0.6% to 80.6%)"]
    assert report.targets[0].got == "> 2.0, 0.2 to inf; search 2, uniform 0 of 4" and not report.targets[0].met
    assert report.targets[1] == Goal(name="clusters of nothing planted, search", wanted="0", got="1 of 3", met=False)
    lines = list(format_triggers(report))
    assert max(map(len, lines)) <= 120 and any("MISSED" in line for line in lines)
    many = tuple("abcd")
    report = report_triggers(table(search=(100, many, 0), captions=(100, (), 0), uniform=(1000, ("a",), 0)))
    assert report.targets[0].got.startswith("40.0, 4.0 to 1969.9; ") and not report.targets[0].met
    assert report.targets[1].met
    report = report_triggers(table(search=(100, many, 0), captions=(100, (), 0), uniform=(9000, ("a",), 0)))
    assert all(one.met for one in report.targets)
    report = report_triggers(table(search=(100, (), 0), captions=(100, (), 0), uniform=(100, (), 0)))
    assert report.targets[0].got.startswith("no find, 0.0 to inf; ") and not report.targets[0].met


@pytest.mark.parametrize(
    ("found", "uniform", "measured", "met"),
    [
        ("abcd", "a", 4000, True), ("abcd", "abcd", 4000, True), ("a", "", 4000, False),
        # Four times as many for each measured prompt.
        ("abcd", "abcd", 2000, False),
    ],
)  # fmt: skip
def test_the_words_are_judged_by_what_they_find_for_their_cost(
    found: str, uniform: str, measured: int, met: bool
) -> None:
    others = {"search": (100, (), 0), "captions": (100, (), 0), "uniform": (measured, tuple(uniform), 0)}
    report = report_triggers(table(**others, words=(500, tuple(found), 0)))  # type: ignore[arg-type]
    [goal] = [one for one in report.targets if EACH_WORD in one.name]
    assert goal.met is met
    assert goal.got.startswith(f"{len(found)} in 500 and {len(uniform)} in {measured:,} of 4: ratio ")


def test_a_closed_form_memoriser_gives_its_images_back(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(5, 3, 4, 4, generator=generator) * 2 - 1
    denoiser = FiniteSetDenoiser(torch.nn.functional.interpolate(coarse, (16, 16), mode="bilinear"))
    located, images = {}, []
    for number in range(4):
        sha256 = f"{number}" * 64
        located[sha256] = tmp_path / f"{number}.png"
        to_image(denoiser.points[number]).save(located[sha256])
        images.append(lab_image(number, f"{number} picture", "planted", 64).model_copy(update={"sha256": sha256}))
    images += [lab_image(10 + number, f"thing {number % 4}", "held_out") for number in range(8)]
    description = LabDescription(recipe=tiny_recipe(), background_images=0, images=images)
    lab = LabModel(tmp_path, description, LoadedModel(denoiser, "closed form", "FiniteSet", {}))
    search = SearchSettings(words=2, chains=4, iterations=6, candidates=6, temperature=0.5)
    work = LabWork(lab, located, tmp_path, 1, Executor(64))
    measured = measure_triggers(work, search, ImageSettings(per_chain=1, images=6, num_inference_steps=5))
    searched = measured.rows[0]
    assert [row.name for row in measured.rows] == [SEARCHED, LIKE_CAPTIONS, UNIFORM, EACH_WORD]
    assert measured.memorised == 4 and searched.found and searched.unplanted == searched.other_planted == 0
    assert set(searched.found) <= {sha256[:16] for sha256 in located}
    assert len({row.measured for row in measured.rows[:3]}) == 1
    assert measured.rows[3].measured == 6 and measured.rows[3].found
    assert report_triggers(measured).targets[-1].met
    with pytest.raises(InputError, match="are not in the folder given"):
        measure_triggers(replace(work, located={}), search)


def test_help_needs_no_model_libraries() -> None:
    program = (
        "import sys, contextlib\nfrom imgaudit.cli import app\n"
        "with contextlib.suppress(SystemExit): app(['triggers', '--help'])\n"
        "assert not {'torch', 'diffusers', 'numpy', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
