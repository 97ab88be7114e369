"""`imgaudit index` and its benchmark: what is printed, and with which exit code."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from imgaudit.benchmark.index import scale as index_scale
from imgaudit.benchmark.index import stages as index_stages
from imgaudit.benchmark.index.plan import Prices, make_plans
from imgaudit.benchmark.index.scale import IndexReport
from imgaudit.benchmark.index.stages import StageInput, build, build_faiss, compare, make, numpy_search, search
from imgaudit.cli import app, main
from imgaudit.cli import index as indexing
from imgaudit.exceptions import ConfigError, IndexRefusedError, InputError
from imgaudit.index import BuildOptions, build_collection, pair_id_lists
from tests.conftest import random_image
from tests.support.vectors import unit_vectors

TABLE = Path(__file__).parent.parent.parent / "examples" / "index.json"


@pytest.fixture
def collection(make_folder: Callable[..., Path], tmp_path: Path) -> Path:
    build_collection(tmp_path / "c", pair_id_lists([make_folder("photos", range(6))]), workers=0)
    return tmp_path / "c"


def run(*words: object) -> "tuple[int, str]":
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def test_json_is_one_line_per_query_nearest_first(collection: Path, tmp_path: Path) -> None:
    queries = tmp_path / "queries"
    queries.mkdir()
    for seed in (2, 5):
        random_image(seed).save(queries / f"{seed}.png")
    (queries / "bad.png").write_bytes(b"no image")
    code, output = run("index", "search", collection, queries, "-k", 3, "--json", "-q")
    lines = {Path(value["query"]).name: value for value in map(json.loads, output.splitlines())}
    assert code == 3 and set(lines) == {"2.png", "5.png", "bad.png"}
    assert set(lines["bad.png"]) == {"query", "skipped"} and "not an image" in lines["bad.png"]["skipped"]
    for seed in (2, 5):
        assert set(lines[f"{seed}.png"]) == {"query", "matches"}
        matches = lines[f"{seed}.png"]["matches"]
        assert len(matches) == 3 and all(set(match) == {"id", "path", "similarity", "view"} for match in matches)
        similarities = [match["similarity"] for match in matches]
        assert similarities == sorted(similarities, reverse=True)
        assert matches[0]["id"] == f"photos/picture-00{seed}.png"
        assert Path(matches[0]["path"]).is_file()


def test_matches_above_a_bound(collection: Path, tmp_path: Path) -> None:
    query = tmp_path / "photos/picture-001.png"
    code, output = run("index", "search", collection, query, "--above", 0.99, "--json")
    value = json.loads(output)
    assert code == 0 and [match["id"] for match in value["matches"]] == ["photos/picture-001.png"]
    assert "cut" not in value
    value = json.loads(run("index", "search", collection, query, "--above", -1, "--most", 2, "--json")[1])
    assert len(value["matches"]) == 2 and value["cut"] is True
    assert "more than 2 matches" in run("index", "search", collection, query, "--above", -1, "--most", 2)[1]


def test_hostile_names_reach_the_terminal_as_plain_text(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    name = "\x1b[31m[bold]red\u202e\n.png"
    random_image(1).save(folder / name)
    (folder / "bad\x1b]0;title\x07.png").write_bytes(b"x")
    build_collection(tmp_path / "c", pair_id_lists([folder]), workers=0)
    shown = run("index", "search", tmp_path / "c", folder)[1] + run("index", "info", tmp_path / "c")[1]
    assert not {"\x1b", "\u202e", "\x07"} & set(shown)
    assert "\\x1b[31m[bold]red\\u202e\\n.png" in shown
    values = [json.loads(line) for line in run("index", "search", tmp_path / "c", folder, "--json")[1].splitlines()]
    assert values[-1]["matches"][0]["id"] == f"photos/{name}"
    assert all("\x1b" not in line for line in run("index", "search", tmp_path / "c", folder, "--json")[1])


def test_vectors_are_queries_of_collections_that_images_cannot_ask(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", unit_vectors(20))
    np.save(tmp_path / "q.npy", unit_vectors(20)[4:6])
    build_collection(tmp_path / "c", pair_id_lists([tmp_path / "v.npy"]), BuildOptions("clip"))
    code, output = run("index", "search", tmp_path / "c", tmp_path / "q.npy", "--json")
    values = [json.loads(line) for line in output.splitlines()]
    assert code == 0 and [value["matches"][0]["id"] for value in values] == ["v.npy/4", "v.npy/5"]
    assert values[1]["query"].endswith("q.npy#1")
    random_image(0).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"vectors of 'clip' .* ask with an \.npy file"):
        run("index", "search", tmp_path / "c", tmp_path / "a.png")


def test_build_add_and_info(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", unit_vectors(30))
    np.save(tmp_path / "w.npy", unit_vectors(5, seed=9) * 2)
    out = tmp_path / "c"
    assert run("index", "build", out, tmp_path / "v.npy", "--descriptor", "clip", "--shard-vectors", 20)[0] == 0
    assert run("index", "add", out, tmp_path / "w.npy", "-q")[0] == 0
    code, output = run("index", "info", out)
    assert code == 0 and output.startswith("35 vectors, ") and "descriptor clip, 16 floats" in output
    assert "the search is exact" in output and output.count("shard 0") == 3
    value = json.loads(run("index", "info", out, "--json")[1])
    assert value["vectors"] == 35 and [shard["count"] for shard in value["manifest"]["shards"]] == [20, 10, 5]
    assert [source["scaled"] for source in value["manifest"]["sources"]] == [0, 5]
    with pytest.raises(ConfigError, match="--kind must be one of auto, flat"):
        run("index", "build", tmp_path / "d", tmp_path / "v.npy", "--kind", "annoy")
    with pytest.raises(IndexRefusedError, match=r"has no manifest\.json"):
        run("index", "info", tmp_path)


def test_a_refused_collection_exits_with_2_and_its_reason(
    collection: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (collection / "shards/000000/ids.bin").unlink()
    monkeypatch.setattr(sys, "argv", ["imgaudit", "index", "info", str(collection)])
    with pytest.raises(SystemExit) as stop:
        main()
    said = capsys.readouterr()
    assert stop.value.code == 2 and "missing or not a regular file" in said.err and not said.out


@pytest.mark.parametrize("words", [["index", "--help"], ["index", "build", "--help"], ["benchmark", "index", "--help"]])
def test_help_loads_neither_torch_nor_faiss(words: list[str]) -> None:
    code = (
        f"import sys; from imgaudit.cli import main; sys.argv = {['imgaudit', *words]!r}\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print({'torch', 'faiss', 'pyarrow'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "set()" and "Usage" in done.stdout


@pytest.mark.parametrize(("dimension", "binary"), [(16, False), (64, True)])
def test_the_benchmark_compares_equals_with_equals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dimension: int, binary: bool
) -> None:
    monkeypatch.setattr(index_stages, "TIMED", 0.1)
    case = StageInput(str(tmp_path), 500, dimension, binary, 1)
    make(case)
    built = build(case)
    case = StageInput(str(tmp_path), 500, dimension, binary, 1, None, built["factory"])
    build_faiss(case)
    exact, found = numpy_search(case), search(case)["found"]
    np.testing.assert_allclose(found[: len(exact["truth"]["best"])], exact["truth"]["best"], atol=1e-5)
    # Queries are near copies: closer to what they copy than anything else is.
    assert np.mean(found) > 0.85
    both = compare(case)
    assert len(both["ours"]) == len(both["faiss"]) >= 15 and min(both["ours"]) > 0


def test_a_committed_table_is_printed(tmp_path: Path) -> None:
    report = IndexReport.model_validate_json(TABLE.read_text())
    code, output = run("benchmark", "index", "--table", TABLE, "--save", tmp_path / "copy.json")
    assert code == 0 and output.count(" x ") == 4 * len(report.results)
    assert max(map(len, output.splitlines())) <= 80
    assert IndexReport.model_validate_json((tmp_path / "copy.json").read_text()) == report
    assert all(one.low <= one.hits / one.n <= one.high for one in report.results)
    plans = make_plans(report, 2_000_000_000)
    assert len(plans) == len({one.setting for one in report.results})
    for plan in plans:
        assert plan.measured.count == max(one.count for one in report.results if one.setting == plan.measured.setting)
        # The vectors alone take so much.
        assert plan.disk > 2_000_000_000 * (
            plan.measured.setting.dimension // 8
            if plan.measured.setting.binary
            else 4 * plan.measured.setting.dimension
        )
    words = ("benchmark", "index", "--table", TABLE, "--plan", 2_000_000_000)
    bare = run(*words)[1]
    assert bare.startswith("2,000,000,000 vectors") and "cost" not in bare
    priced = run(*words, "--price-core-hour", 2, "--price-gib-month", 0.5)[1]
    assert priced.startswith(bare) and "cost at 2 a core hour and 0.5 a GiB and month" in priced
    costs = Prices(2, 0.5).of(plans[0])
    assert costs["build, cost"] == 2 * plans[0].build_hours and costs["disk, a month"] == plans[0].disk / 2**31
    assert "a month" not in run(*words, "--price-core-hour", 2)[1]


def test_rows_are_added_to_a_table_that_was_measured_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = IndexReport.model_validate_json(TABLE.read_text())
    row = measured.results[0]
    monkeypatch.setattr(
        index_scale,
        "_load_or_measure",
        lambda count, setting, *_: row.model_copy(update={"count": count, "setting": setting}),
    )
    table = tmp_path / "table.json"
    words = ("benchmark", "index", "--out", tmp_path / "work", "--save", table, "-q")
    assert run(*words, "--sizes", "100,200", "--vectors", "8 floats,64 bits")[0] == 0
    assert run(*words, "--sizes", 100, "--vectors", "16 floats", "--kind", "flat", "--append")[0] == 0
    assert run(*words, "--sizes", 200, "--vectors", "64 bits", "--append")[0] == 0
    report = IndexReport.model_validate_json(table.read_text())
    assert [(one.count, one.setting.name) for one in report.results] == [
        (100, "8 floats"), (100, "64 bits"), (100, "16 floats"), (200, "8 floats"), (200, "64 bits")
    ]  # fmt: skip
    assert report.results[2].setting.wanted == "flat" and len(make_plans(report, 1_000)) == 3
    with pytest.raises(ConfigError, match="measured with seed 1, but here it is 2"):
        run(*words, "--append", "--seed", 2)
    for wrong in ("8", "8 numbers", "100 bits", "0 floats"):
        with pytest.raises(ConfigError, match="--vectors must be like"):
            run(*words, "--vectors", wrong)


def test_a_build_is_incomplete_by_damaged_images_alone(
    make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Worker processes take seconds to start.
    monkeypatch.setattr(indexing, "_workers", lambda workers: 0)
    folder = make_folder("photos", range(3))
    (folder / "logo.svg").write_text("<svg/>")
    (folder / "notes.txt").write_text("notes")
    done = CliRunner().invoke(app, ["index", "build", str(tmp_path / "c"), str(folder)])
    assert done.exit_code == 0 and "1 other files were ignored: their names are not those of images" in " ".join(
        done.output.split()
    )
    assert ".svg 1" in run("index", "info", tmp_path / "c")[1]
    (folder / "bad.png").write_bytes(b"no image")
    assert run("index", "build", tmp_path / "d", folder)[0] == 3
