"""Put the lab `report-128` into the package as `demo-128`, whose portfolio `imgaudit demo` audits.

    imgaudit benchmark legs --model report-128 --images layouts-corpus --out legs
    python examples/bundle_demo_128.py --lab report-128 --legs legs

The portfolio and the null bank come from that benchmark, which measures controls as like the portfolio as possible:
drawings, and drawings in layouts that the lab was never trained on. The SHA-256 alone decides which images of a kind
are in the portfolio, never the verdict of an audit.
"""

import argparse
import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from bundle_demo import readable_name

from imgaudit.benchmark.verdicts.legs_audit import Truth, judge_truth
from imgaudit.decision.null_bank import NullBank
from imgaudit.io.captions import CaptionSource
from imgaudit.io.portfolio import read_portfolio
from imgaudit.io.tables import read_captions
from imgaudit.lab.description import LabDescription, LabImage
from imgaudit.models import load_model
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.model_checking import keep_model_checks
from imgaudit.runs.model_checks import read_model_checks
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.model_checks import ModelChecks
from imgaudit.schema.protocol import Effort, Framing

NAME = "demo-128"
BUNDLED = Path(__file__).parent.parent / "imgaudit" / "lab" / "bundled" / NAME
COUNTS = {Truth.WHOLE: 8, Truth.LAYOUT: 5, Truth.PLANTED: 3, Truth.ALIKE: 3, Truth.HELD_OUT: 5}
"""Images of the portfolio, by what they are."""


def choose_portfolio(lab: LabDescription, there: set[str]) -> list[LabImage]:
    """Return the first images of each kind by SHA-256, of those whose file names are there."""
    by_hash = sorted((one for one in lab.images if f"{one.sha256[:16]}.png" in there), key=lambda one: one.sha256)
    kinds = {truth: [one for one in by_hash if judge_truth(one) is truth] for truth in COUNTS}
    return [one for truth, count in COUNTS.items() for one in kinds[truth][:count]]


def copy_portfolio(images: list[LabImage], targets: Path, folder: Path) -> None:
    """Copy images under names made of their captions, and write the captions as metadata.jsonl."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    captions, lines = read_captions(targets / "metadata.jsonl"), []
    for image in images:
        source = f"{image.sha256[:16]}.png"
        [text] = captions[source]
        name = readable_name(text, image.sha256[:4])
        shutil.copyfile(targets / source, folder / name)
        lines.append(json.dumps({"file_name": name, "text": text}) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")


def check_model(controls: Path) -> ModelChecks | None:
    """Check the model with the controls, as a calibration does."""
    config = AuditConfig(effort=Effort.QUICK, framing=Framing.PAD, seed=1)
    portfolio = read_portfolio(controls, CaptionSource(controls), framing=config.framing)
    with TemporaryDirectory() as work:
        run = RunFolder(Path(work))
        keep_model_checks(run, load_model(NAME), portfolio, portfolio, config)
        checks = read_model_checks(run)
    return checks and checks.model_copy(update={"seconds": 0.0, "network_evaluations": 0})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lab", type=Path, required=True)
    parser.add_argument("--legs", type=Path, required=True)
    given = parser.parse_args()
    if given.lab.resolve() != BUNDLED:
        shutil.copytree(given.lab, BUNDLED, dirs_exist_ok=True)
    targets = given.legs / "targets"
    lab = LabDescription.read(BUNDLED / "lab.json")
    portfolio = choose_portfolio(lab, {path.name for path in targets.glob("*.png")})
    copy_portfolio(portfolio, targets, BUNDLED / "portfolio")
    bank = NullBank.read(given.legs / "run" / "calibration.json")
    checked = {"model": NAME, "model_checks": check_model(given.legs / "controls")}
    bank.model_copy(update=checked).write(BUNDLED / "calibration.json")
    for truth, count in COUNTS.items():
        print(f"{truth.value}: {sum(judge_truth(one) is truth for one in portfolio)} of {count} wanted")
    print(f"controls: {len(bank.controls)}, and {len(bank.kept_out)} kept out")


if __name__ == "__main__":
    main()
