"""Files that are cut, damaged, or something else than the image they are called."""

import importlib.util
import io
import struct
import zipfile
from collections.abc import Mapping

from imgaudit.benchmark.robustness.hostile.bytes import (
    PNG_SIGNATURE,
    jpeg_segment,
    longs,
    png,
    png_chunk,
    png_rows,
    shorts,
    tiff,
    tiff_of,
    with_jpeg_segments,
    with_png_chunks,
)
from imgaudit.benchmark.robustness.hostile.folder import SIZE, HostileFolder, Outcome, encoded
from imgaudit.benchmark.robustness.hostile.pictures import FORMATS

PLANTED = "PLANTED"
"""The file that active content would write into the working folder."""

OTHER_FORMATS = {
    "ICO": Outcome.SKIPPED, "TGA": Outcome.MEASURED, "JPEG2000": Outcome.EITHER, "PCX": Outcome.SKIPPED,
    "SGI": Outcome.SKIPPED, "DDS": Outcome.SKIPPED, "ICNS": Outcome.SKIPPED, "MSP": Outcome.SKIPPED,
}  # fmt: skip
"""Formats that Pillow writes and that are called PNG here: those that people use, and those left to attackers."""

_SCRIPT = b"<script>alert(document.domain)</script>"

_SVG = (
    b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    b'<svg xmlns="http://www.w3.org/2000/svg" width="24" height="24" onload="alert(1)"><text>&x;</text>'
    + _SCRIPT
    + b'<image href="https://example.org/seen.png"/></svg>'
)


def put_truncated(target: HostileFolder) -> None:
    """Every format, cut early, in the middle, and just before its end; and files that hold nothing."""
    for suffix, form in FORMATS.items():
        for percent, expected in ((10, Outcome.SKIPPED), (50, Outcome.SKIPPED), (99, Outcome.EITHER)):
            data = target.encoded(form, (64, 64))
            target.put("truncated", f"{percent} percent.{suffix}", data[: len(data) * percent // 100], expected)
    nothing = {"empty.png": b"", "empty.jpg": b"", "one byte.gif": b"G", "all zero.tif": bytes(4096)}
    target.put_all("zero bytes", nothing, Outcome.SKIPPED)


def put_not_images(target: HostileFolder) -> None:
    """Text and documents that are called like images, and formats that nothing here decodes."""
    texts = {
        "text.png": b"hello\n", "page.jpg": b"<!doctype html>" + _SCRIPT, "page.gif": b"GIF8" + _SCRIPT,
        "document.png": b"%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj\n%%EOF",
        "program.bmp": b"\x7fELF\x02\x01\x01" + bytes(57), "archive.webp": b"PK\x03\x04" + bytes(26),
        "table.avif": b"file_name,text\n", "shell.ppm": b"#!/bin/sh\ntouch PLANTED\n",
    }  # fmt: skip
    target.put_all("mislabelled", texts, Outcome.SKIPPED)
    for form, expected in OTHER_FORMATS.items():
        image = target.picture((32, 32), "1" if form == "MSP" else "RGB")
        target.put("other formats", f"{form} called.png", encoded(image, form), expected)
    undecoded = {"layers.psd": b"8BPS\0\1".ljust(40, b"\0"), "new.jxl": b"\xff\x0a".ljust(40, b"\0")}
    target.put_all("other formats", undecoded, Outcome.SKIPPED)
    heif = Outcome.EITHER if importlib.util.find_spec("pillow_heif") else Outcome.SKIPPED
    box = struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"heic", 0, b"mif1", b"heic") + struct.pack(">I4s", 8, b"mdat")
    target.put_all("HEIC", dict.fromkeys(("photo.heic", "photo called.png", "photo called.avif"), box), heif)


def put_active(target: HostileFolder) -> None:
    """Write what a program, not a decoder, would have to open; and images that are a program as well."""
    program = f"(touch {PLANTED})".encode()
    postscript = (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 24 24\n%%EndComments\n"
        b"(" + PLANTED.encode() + b") (w) file closefile (%pipe%touch PLANTED) (r) file pop showpage\n%%EOF\n"
    )
    wrapped = struct.pack("<IIIIIIIH", 0xC6D3D0C5, 30, len(postscript), 0, 0, 0, 0, 0xFFFF) + postscript
    placeable = struct.pack("<IHhhhhHIH", 0x9AC6CDD7, 0, 0, 0, 24, 24, 96, 0, 0) + struct.pack("<HHH", 1, 9, 0x300)
    link = b"\x4c\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46" + b"cmd.exe /c " + program
    files = {
        "postscript.png": postscript, "postscript.jpg": postscript, "postscript.tif": postscript + b"\n",
        "binary postscript.png": wrapped, "windows metafile.png": placeable.ljust(64, b"\0"),
        "enhanced metafile.png": struct.pack("<II", 1, 88).ljust(40, b"\0") + b" EMF" + bytes(44),
        "script.png": _SVG, "script.gif": _SVG, "windows link.png": link, "script.svg": _SVG,
        "postscript.eps": postscript,
    }  # fmt: skip
    target.put_all("active formats", files, Outcome.SKIPPED)
    target.put("active formats", "windows link.lnk", link, Outcome.UNLISTED)

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(zipfile.ZipInfo("../../PLANTED"), b"planted")
    wide = struct.pack("<H", 0x2A2F)
    gif = bytearray(target.encoded("GIF", (24, 8)))
    gif[:8] = b"GIF89a" + wide
    polyglots = {
        "also a zip.png": target.encoded("PNG") + archive.getvalue(),
        "also javascript.gif": bytes(gif) + b"*/=1;alert(1)",
        "also html.jpg": target.encoded("JPEG", comment=b"<html>" + _SCRIPT),
        "also a shell script.ppm": b"P6\n#;touch PLANTED\n" + target.encoded("PPM")[3:],
        "also a page.png": with_png_chunks(target.encoded("PNG"), png_chunk(b"tEXt", b"Title\0" + _SCRIPT)),
        "also php.jpg": with_jpeg_segments(
            target.encoded("JPEG"), jpeg_segment(0xFE, b"<?php system('touch PLANTED'); ?>")
        ),
    }
    target.put_all("polyglot", polyglots, Outcome.MEASURED)


def put_corrupt(target: HostileFolder) -> None:
    """Headers that lie and tables that lead nowhere."""
    for build in (_pngs, _jpegs, _gifs, _tiffs, _rasters, _boxed):
        for name in build(target):
            # Made anew for each name: what can be decoded after all must not be the same picture.
            target.put("corrupt structure", name, build(target)[name], Outcome.EITHER)
    rows = png_rows(target.picture().tobytes(), SIZE[1])
    refused = {
        "no width.png": png((0, 24), rows), "no height.png": png((24, 0), rows),
        "three bits.png": png(SIZE, rows, depth=3), "colour type 5.png": png(SIZE, rows, colour=5),
        "short header.png": PNG_SIGNATURE + png_chunk(b"IHDR", b"abc") + png_chunk(b"IEND"),
        "only a signature.png": PNG_SIGNATURE, "only a start.jpg": b"\xff\xd8\xff\xe0", "only a name.gif": b"GIF89a",
        "unknown compression.tif": tiff({**tiff_of(target.picture())[0], 259: shorts(60_000)}),
        "loops at once.tif": b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
    }  # fmt: skip
    target.put_all("corrupt structure", refused, Outcome.SKIPPED)


def _pngs(target: HostileFolder) -> Mapping[str, bytes]:
    sound = target.encoded("PNG")
    start = sound.index(b"IDAT")
    length = int.from_bytes(sound[start - 4 : start], "big")
    end = start + 4 + length
    header, pixels = sound[8 : start - 4], sound[start - 4 : end + 4]
    return {
        "bad check sum.png": sound[:end] + b"\0\0\0\0" + sound[end + 4 :],
        "bad check sum of a remark.png": with_png_chunks(sound, png_chunk(b"tEXt", b"a\0b")[:-4] + b"\0\0\0\0"),
        "no end.png": sound[: end + 4],
        "no pixels.png": sound[: start - 4] + png_chunk(b"IEND"),
        "two headers.png": PNG_SIGNATURE + header + header + pixels + png_chunk(b"IEND"),
        "pixels twice.png": sound[: end + 4] + pixels + png_chunk(b"IEND"),
        "palette is missing.png": png(SIZE, png_rows(bytes(range(24)) * 24, 24), colour=3),
        "endless chunk.png": sound[: start - 4] + b"\x7f\xff\xff\xff" + sound[start:],
        "unknown filter.png": png(SIZE, png_rows(target.picture().tobytes(), 24)[:-40]),
        "short transparency.png": with_png_chunks(sound, png_chunk(b"tRNS", b"x")),
        "a million frames.png": with_png_chunks(sound, png_chunk(b"acTL", struct.pack(">II", 1_000_000, 0))),
        "broken exif.png": with_png_chunks(sound, png_chunk(b"eXIf", b"II*\0\xff\xff\xff\x7f")),
    }


def _jpegs(target: HostileFolder) -> Mapping[str, bytes]:
    sound = target.encoded("JPEG")
    frame = sound.index(b"\xff\xc0")
    scan = sound.index(b"\xff\xda")
    return {
        "no end.jpg": sound[:-2],
        "huge quantisation table.jpg": with_jpeg_segments(sound, jpeg_segment(0xDB, bytes(0xFFF0))),
        "quantisation beyond the file.jpg": sound[:2] + b"\xff\xdb\xff\xff" + sound[2:],
        "no lines.jpg": sound[: frame + 5] + b"\0\0" + sound[frame + 7 :],
        "more lines than data.jpg": sound[: frame + 5] + b"\x0f\xff" + sound[frame + 7 :],
        "two frames.jpg": sound[:frame] + sound[frame : frame + 19] + sound[frame:],
        "no frame.jpg": sound[:frame] + sound[frame + 19 :],
        "garbage in the scan.jpg": sound[: scan + 14] + bytes(range(250)) + sound[scan + 264 :],
        "bogus huffman table.jpg": with_jpeg_segments(sound, jpeg_segment(0xC4, b"\0" + b"\xff" * 16)),
        "five components.jpg": sound[: frame + 9] + b"\5" + sound[frame + 10 :],
    }


def _gifs(target: HostileFolder) -> Mapping[str, bytes]:
    sound = target.encoded("GIF")
    flags = sound[10]
    frame = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    frame = sound.index(b"\x2c\0\0\0\0", frame)
    start = frame + 10 + (3 << (sound[frame + 9] & 7) + 1 if sound[frame + 9] & 0x80 else 0)
    return {
        "code size 13.gif": sound[:start] + b"\x0d" + sound[start + 1 :],
        "garbage codes.gif": sound[: start + 2] + b"\xff" * 100 + sound[start + 102 :],
        "frame outside.gif": sound[: frame + 1] + struct.pack("<HH", 60_000, 60_000) + sound[frame + 5 :],
        "empty screen.gif": sound[:6] + bytes(4) + sound[10:],
        "no colours.gif": sound[:10] + bytes([flags & 0x7F]) + sound[11:],
        "endless block.gif": sound[:-1] + b"\x21\xfe" + b"\xff" * 300,
    }


def _tiffs(target: HostileFolder) -> Mapping[str, bytes]:
    fields, pixels = tiff_of(target.picture())
    own = 8 + len(pixels)
    return {
        "directory follows itself.tif": tiff(fields, pixels, own),
        "pixels beyond.tif": tiff({**fields, 273: longs(0x7FFFFFFF)}, pixels),
        "first directory beyond.tif": b"II*\0\xff\xff\xff\x7f" + pixels,
        "no bytes a strip.tif": tiff({**fields, 279: longs(0)}, pixels),
        "many channels.tif": tiff({**fields, 277: shorts(60_000)}, pixels),
        "no bits.tif": tiff({**fields, 258: shorts(0, 0, 0)}, pixels),
        "no rows a strip.tif": tiff({**fields, 278: longs(0)}, pixels),
        "values beyond.tif": tiff(fields, pixels)[:-20],
        "garbage as JPEG.tif": tiff({**fields, 259: shorts(7)}, pixels),
        "garbage as fax.tif": tiff({**fields, 259: shorts(4)}, pixels),
    }


def _rasters(target: HostileFolder) -> Mapping[str, bytes]:
    bmp, pixels = target.encoded("BMP"), target.picture().tobytes()

    def changed(place: int, form: str, value: int) -> bytes:
        size = struct.calcsize(form)
        return bmp[:place] + struct.pack(form, value) + bmp[place + size :]

    return {
        "height below zero.bmp": changed(22, "<i", -(2**31)),
        "width below zero.bmp": changed(18, "<i", -24),
        "absurd palette.bmp": changed(46, "<I", 0x7FFFFFFF),
        "seven bits.bmp": changed(28, "<H", 7),
        "run lengths of nothing.bmp": changed(30, "<I", 1),
        "pixels beyond.bmp": changed(10, "<I", 0x7FFFFFFF),
        "absurd header.bmp": changed(14, "<I", 0x7FFFFFFF),
        "top of zero.ppm": b"P6 24 24 0\n" + pixels,
        "top of 70000.ppm": b"P6 24 24 70000\n" + pixels * 2,
        "top below zero.ppm": b"P6 24 24 -255\n" + pixels,
        "top is a word.ppm": b"P6 24 24 white\n" + pixels,
        "long number.ppm": b"P6 " + b"9" * 10_000 + b" 24 255\n" + pixels,
        "endless remark.ppm": b"P6 #" + b"x" * 100_000,
        "words as pixels.ppm": b"P3 24 24 255\n" + b"many " * 1728,
    }


def _boxed(target: HostileFolder) -> Mapping[str, bytes]:
    webp, avif = target.encoded("WEBP"), target.encoded("AVIF")
    place, item = webp.index(b"VP8 ") + 4, avif.index(b"iloc")
    return {
        "endless chunk.webp": webp[:place] + b"\xff\xff\xff\x7f" + webp[place + 4 :],
        "no chunk.webp": webp[:12],
        "garbage.webp": webp[: place + 40] + bytes(range(200)) + webp[place + 240 :],
        "lost item.avif": avif[: item + 8] + b"\xff" * 16 + avif[item + 24 :],
        "no item.avif": avif[: avif.index(b"mdat") + 4],
        "garbage.avif": avif[: avif.index(b"mdat") + 8] + bytes(range(256)),
    }
