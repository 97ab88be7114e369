"""Every edit by every attacker on copies of one finished run, checked by `imgaudit verify`."""

import json
import shutil
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from imgaudit.benchmark.robustness.bench import Bench, visible_problems
from imgaudit.benchmark.robustness.interruptions import RESUMABLE
from imgaudit.benchmark.robustness.processes import Ended, run_command
from imgaudit.benchmark.robustness.tampering import (
    bank,
    evidence,
    manifest,
    pages,
    pictures,
    records,
    result,
    review,
    seal,
)
from imgaudit.benchmark.robustness.tampering.counts import (
    BY_HEAD,
    FOUND,
    HARMLESS_COPIES,
    MISSED,
    PASSES,
    REFUSED,
    REWRITTEN,
    TAMPERED,
)
from imgaudit.benchmark.robustness.tampering.edit import Attacker, Edit, EditedRun
from imgaudit.benchmark.robustness.tampering.harmless import HARMLESS, REVIEWERS, decide
from imgaudit.exceptions import ImgauditError
from imgaudit.models.loading import bundled_lab

GROUPS = (
    pages.EDITS, result.EDITS, manifest.EDITS, records.EDITS, bank.EDITS, pictures.EDITS, review.EDITS, seal.EDITS,
    evidence.EDITS,
)  # fmt: skip
"""Edits by what is edited."""

EDITS = tuple(chain.from_iterable(GROUPS))
"""Every kind of edit."""

PORTFOLIO = (
    "mexico-03440.png", "attention-niels-epting-00566.png", "logjam-01224.png", "crop-00758.png",
    "boy-symbol-02527.png", "pace-e-bene-architetto-02646.png",
)  # fmt: skip
"""Images of the run that is edited: three that the bundled model memorised, and three that it did not."""

OTHER_PORTFOLIO = ("mexico-03440.png", "kthememgr-01212.png")
"""Images of the run that parts are taken from: one of those above, and another one."""


def choose_edits(count: int | None) -> list[Edit]:
    """Return the first kinds of edits of every group; all for None."""
    return [edit for group in GROUPS for edit in group[:count]]


def tamper(bench: Bench, kinds: int | None, on_progress: Callable[[int, int], None]) -> None:
    """Make the runs, edit copies of one in every way, and count what `imgaudit verify` says about each.

    kinds:  as in `choose_edits`
    The runs are of the bundled demo model, whatever model the rest of the benchmark audits: its null bank is at hand,
    and some of its images are reproduced. Raises RuntimeError when an untouched run cannot be made.
    """
    run = _audit(bench, "run", PORTFOLIO, seed=1)
    _audit(bench, "continued", PORTFOLIO, seed=1, out=run)
    decide(run, REVIEWERS)
    _require(run_command(["report", run], bench.place("rendered")), "the pages of the run")
    other = _audit(bench, "other", OTHER_PORTFOLIO, seed=2)
    cases = [(edit, attacker) for edit in choose_edits(kinds) for attacker in (*edit.attackers, *edit.by_head)]
    for number, (edit, attacker) in enumerate(cases):
        on_progress(number, len(cases))
        try_edit(bench, EditedRun(_copy(bench, run), other), edit, attacker)
    for kind, change in HARMLESS.items():
        _try_harmless(bench, run, kind, change)


def try_edit(bench: Bench, run: EditedRun, edit: Edit, attacker: Attacker) -> None:
    """Make one edit on a copy of a run, and count whether it is found and the file named."""
    head = json.loads((run.path / "evidence.json").read_text(encoding="utf-8"))["complete_head"]
    edit.make(run)
    try:
        run.hide(attacker)
    except (ImgauditError, LookupError, ValueError, TypeError) as error:
        # The attacker cannot go on with this program, so there is no such run.
        bench.recorder.count(TAMPERED, edit.kind, f"{attacker} impossible: {type(error).__name__}")
        _remove(run)
        return
    ended = run_command(["verify", run.path], bench.place("verified"))
    problems = list(_missed(ended, run.named))
    if attacker not in edit.by_head:
        said = [f"{attacker}: {problem}" for problem in problems]
        bench.recorder.count(TAMPERED, edit.kind, MISSED if problems else FOUND, said)
    elif not problems:
        bench.recorder.count(REWRITTEN, edit.kind, FOUND)
    else:
        ended = run_command(["verify", run.path, "--head", head], bench.place("verified"))
        problems = visible_problems(ended, (5,))
        bench.recorder.count(REWRITTEN, edit.kind, MISSED if problems else BY_HEAD, problems)
    if not problems:
        _remove(run)


def _missed(ended: Ended, named: list[str]) -> Iterator[str]:
    """Yield why an edit counts as missed: another exit code, a traceback, or no word about the file."""
    yield from visible_problems(ended, (5,))
    if ended.code == 5 and not any(name in ended.stdout + ended.stderr for name in named):
        yield f"no message names {' or '.join(dict.fromkeys(named))}: {ended.stdout[:600]!r}"


def _try_harmless(bench: Bench, run: Path, kind: str, change: Callable[[Path], Path]) -> None:
    copy = change(_copy(bench, run))
    ended = run_command(["verify", copy], bench.place("verified"))
    problems = visible_problems(ended, (0,))
    problems = [f"{problem}; {ended.stdout[:600]!r}" for problem in problems]
    bench.recorder.count(HARMLESS_COPIES, kind, REFUSED if problems else PASSES, problems)


def _audit(bench: Bench, name: str, images: tuple[str, ...], *, seed: int, out: Path | None = None) -> Path:
    """Audit some images of the demo, or continue that audit."""
    lab, place = bundled_lab("demo"), bench.place(name)
    portfolio = out.parent / "portfolio" if out else place / "portfolio"
    if out is None:
        portfolio.mkdir()
        for image in images:
            shutil.copy(lab / "portfolio" / image, portfolio)
        lines = (lab / "portfolio" / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if json.loads(line)["file_name"] in images]
        (portfolio / "metadata.jsonl").write_text("\n".join(kept), encoding="utf-8")
    sealed = portfolio.with_name("seal.json")
    options = ["--model", "demo", "--calibration", lab / "calibration.json", "--device", "cpu", "--effort", "quick",
               "--framing", "pad", "--seed", seed, "--operator", "A. Auditor"]  # fmt: skip
    if out is None:
        _require(run_command(["seal", portfolio, *options, "--output", sealed], place / "sealed"), f"the seal {name!r}")
    out = out or place / "run"
    ended = run_command(["audit", portfolio, *options, "--seal", sealed, "--out", out], place / "output")
    _require(ended, f"the audit {name!r}")
    return out


def _require(ended: Ended, what: str) -> None:
    if ended.code not in RESUMABLE:
        raise RuntimeError(f"{what} ended with {ended.code}: {ended.stderr[-2000:]}")


def _copy(bench: Bench, run: Path) -> Path:
    copy = bench.place("copy") / "run"
    shutil.copytree(run, copy)
    return copy


def _remove(run: EditedRun) -> None:
    shutil.rmtree(run.path.parent, ignore_errors=True)
