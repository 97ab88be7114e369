"""Put the trained `demo` lab into the package: model, lab.json, portfolio, controls and benchmark images.

    python examples/bundle_demo.py --corpus corpus --lab demo-lab
    imgaudit calibrate imgaudit/lab/bundled/demo/controls --model demo --effort quick --framing pad \
        --note "held-out openclipart drawings, never trained on" --out imgaudit/lab/bundled/demo/calibration.json

The SHA-256 alone decides where held-out and seen-once images go, never the verdict of an audit.
"""

import argparse
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from imgaudit.lab.description import LabDescription, LabImage

BUNDLED = Path(__file__).parent.parent / "imgaudit" / "lab" / "bundled" / "demo"
CONTROLS, HELD_OUT, SEEN_ONCE = 320, 120, 80
"""Numbers of controls (a quarter of them is used only to fit complexity) and of benchmark images; other held-out images
are not used."""


def readable_name(text: str, unique: str) -> str:
    """Turn a caption into a file name, with something that keeps it unique."""
    words = re.sub(r"[^a-z0-9]+", "-", text.split(",")[0].lower()).strip("-")[:40]
    return f"{words or 'drawing'}-{unique}.png"


def copy_images(images: Sequence[LabImage], corpus: Path, folder: Path) -> None:
    """Copy images and write their captions as metadata.jsonl."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lines = []
    for image in images:
        name = readable_name(image.text, Path(image.file_name).stem)
        shutil.copyfile(corpus / "images" / image.file_name, folder / name)
        lines.append(json.dumps({"file_name": name, "text": image.text}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--lab", type=Path, required=True)
    arguments = parser.parse_args()
    lab = LabDescription.read(arguments.lab / "lab.json")
    by_hash = sorted(lab.images, key=lambda image: image.sha256)
    planted = [image for image in by_hash if image.role == "planted"]
    seen_once = [image for image in by_hash if image.role == "seen_once"][:SEEN_ONCE]
    held_out = [image for image in by_hash if image.role == "held_out"]
    controls, rest = held_out[:CONTROLS], held_out[CONTROLS:]
    benchmark, fresh = rest[:HELD_OUT], rest[HELD_OUT:]

    shutil.rmtree(BUNDLED / "model", ignore_errors=True)
    shutil.copytree(arguments.lab / "model", BUNDLED / "model")
    shutil.copyfile(arguments.lab / "lab.json", BUNDLED / "lab.json")
    memorised = [image for image in planted if image.memorised][:10]
    faint = [image for image in planted if not image.memorised][:3]
    copy_images([*memorised, *faint, *seen_once[:5], *fresh[:6]], arguments.corpus, BUNDLED / "portfolio")
    copy_images(controls, arguments.corpus, BUNDLED / "controls")
    copy_images([*planted, *seen_once, *benchmark], arguments.corpus, BUNDLED / "benchmark")
    print(f"portfolio: {len(memorised)} memorised, {len(faint)} planted not reproduced, 5 seen once, 6 held out")
    print(f"controls: {len(controls)}")
    print(f"benchmark: {len(planted)} planted, {len(seen_once)} seen once, {len(benchmark)} held out")


if __name__ == "__main__":
    main()
