"""Build a corpus that is unlike clip art from two Debian packages: emoji (OFL), and pictures for children (GPL).

    apt-get install fonts-noto-color-emoji tuxpaint-stamps-default
    python examples/build_emoji_and_stamps.py --out stamps
    imgaudit lab train examples/recipes/report-b.toml --images stamps --out report-b

Many of the stamps are under the GPL, so neither the images nor a model that memorises them is in this repository.
"""

import argparse
import io
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from fontTools.ttLib import TTFont
from PIL import Image

from imgaudit.exceptions import ImageError
from imgaudit.io.framing import frame_image
from imgaudit.io.images import load_image
from imgaudit.io.listing import find_images
from imgaudit.lab.corpus import CorpusEntry, write_corpus
from imgaudit.schema.protocol import Framing

SIDE = 128
SILENT = {0x200D, 0xFE0F, 0x20E3}
"""Joiners and selectors inside emoji sequences: they have no name for a caption."""
SKIN_TONES = set(range(0x1F3FB, 0x1F400))


def spoken(codepoints: list[int]) -> str:
    """Join Unicode names to a caption: "woman rocket", "flag b r"."""
    names = [unicodedata.name(chr(code), "").lower() for code in codepoints if code not in SILENT]
    letters = [name.removeprefix("regional indicator symbol letter ") for name in names]
    return ("flag " if letters != names else "") + " ".join(letters)


def emoji_glyphs(font: TTFont) -> dict[str, list[int]]:
    """Map glyph names to code points, for single characters and sequences without a skin tone."""
    glyphs = {name: [code] for code, name in font.getBestCmap().items()}
    codes = dict(glyphs)
    for lookup in font["GSUB"].table.LookupList.Lookup:
        for table in lookup.SubTable:
            table = getattr(table, "ExtSubTable", table)
            for first, ligatures in getattr(table, "ligatures", {}).items():
                for ligature in ligatures:
                    parts = [first, *ligature.Component]
                    if all(part in codes for part in parts):
                        glyphs.setdefault(ligature.LigGlyph, [codes[part][0] for part in parts])
    return {name: sequence for name, sequence in glyphs.items() if not SKIN_TONES & set(sequence)}


def emoji(path: Path) -> Iterator[tuple[str, Image.Image]]:
    """Yield the captions and bitmaps of a colour bitmap font (CBDT)."""
    font = TTFont(path)
    bitmaps = font["CBDT"].strikeData[0]
    for name, sequence in sorted(emoji_glyphs(font).items(), key=lambda item: item[1]):
        caption = spoken(sequence)
        if name in bitmaps and caption:
            picture = Image.open(io.BytesIO(bitmaps[name].imageData)).convert("RGBA")
            white = Image.new("RGBA", picture.size, "white")
            yield caption, Image.alpha_composite(white, picture).convert("RGB")


def stamps(folder: Path) -> Iterator[tuple[str, Image.Image]]:
    """Yield captions (the first line beside each picture) and pictures, without letters and digits of alphabets."""
    for path in find_images(folder):
        text = path.with_suffix(".txt")
        if "alphabets" in path.parts or not text.is_file():
            continue
        try:
            picture = load_image(path).pixels
        except ImageError as error:
            print(f"{path.name!r} left out: it {error}")
            continue
        yield text.read_text(encoding="utf-8").splitlines()[0].strip().rstrip(".!").lower(), picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--font", type=Path, default=Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"))
    parser.add_argument("--stamps", type=Path, default=Path("/usr/share/tuxpaint/stamps"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    folder = arguments.out / "images"
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for source, pictures in (("emoji", emoji(arguments.font)), ("stamp", stamps(arguments.stamps))):
        for number, (caption, picture) in enumerate(pictures):
            target = folder / f"{source}-{number:05d}.png"
            frame_image(picture, SIDE, Framing.PAD).save(target)
            entries.append(CorpusEntry(target, caption))
        print(f"{number + 1} pictures: {source}")
    write_corpus(entries, arguments.out)


if __name__ == "__main__":
    main()
