"""Markers of a JPEG, walked from the first to the end of the picture; what lies behind that end is no part of it."""

import re
import struct
from dataclasses import dataclass

MAX_SEGMENTS = 100_000
"""Segments that are walked; what follows is not looked at."""

MAX_PICTURES = 8
"""Pictures behind the first that are passed over in looking for a film."""

START_OF_SCAN, END_OF_IMAGE, APP1, APP2, APP14 = 0xDA, 0xD9, 0xE1, 0xE2, 0xEE
FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7})
"""Frame headers, of JPEG-LS too."""
LOSSLESS = {0xC3: "lossless", 0xC7: "lossless", 0xCB: "lossless", 0xCF: "lossless", 0xF7: "JPEG-LS"}
"""Frame headers of JPEGs without losses, and what these are called."""
ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length: TEM, the restarts and the start of the image."""

XMP = (b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0")
GAIN_MAP_URN = b"urn:iso:std:iso:ts:21496:-1\0"
GAIN_MAP_XMP = (b"http://ns.adobe.com/hdr-gain-map/1.0/", b"http://ns.apple.com/HDRGainMap/1.0/")

# 0xFF 0x00 is a byte of the scan, and 0xFF 0xD0 to 0xD7 are restarts inside it.
_NEXT_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")


@dataclass(frozen=True)
class JpegStructure:
    """Contents of a JPEG's segments."""

    scans: int
    """Passes over the pixels."""
    frame: int
    """Marker of the frame header; 0 when none was found."""
    bits: int
    """Bits a sample; 0 when no frame header was found."""
    components: int
    """Channels; 0 when no frame header was found."""
    adobe: bool
    """Presence of Adobe's APP14 segment, which says among other things that inks are stored inverted."""
    gain_map: bool
    """Presence of a gain map, from which HDR screens show a brighter picture."""
    end: int
    """Offset of the first byte behind the picture."""

    @property
    def kind(self) -> str:
        """Words for what kind of JPEG it is."""
        return f"{LOSSLESS.get(self.frame, 'lossy')}, {self.bits} bits a sample"

    @property
    def inks_upright(self) -> bool:
        """Four inks, and no sign that they are stored inverted, as Adobe's programs store them."""
        return self.components == 4 and not self.adobe


def read_jpeg_structure(data: bytes) -> JpegStructure:
    """Walk the segments of a JPEG. A damaged file ends the walk early, and is left to the decoder.

    >>> read_jpeg_structure(bytes.fromhex("ffd8ffda0002aabbffd9ffda")).scans
    1
    """
    scans, frame, bits, components, adobe, gain_map, place = 0, 0, 0, 0, False, False, 2
    for _ in range(MAX_SEGMENTS):
        while data[place : place + 2] == b"\xff\xff":
            place += 1
        if len(data) < place + 2 or data[place] != 0xFF:
            break
        marker = data[place + 1]
        if marker == END_OF_IMAGE:
            place += 2
            break
        if marker in ALONE:
            place += 2
            continue
        if len(data) < place + 4:
            break
        end = place + 2 + struct.unpack_from(">H", data, place + 2)[0]
        body = data[place + 4 : end]
        if marker in FRAMES and len(body) > 5:
            frame, bits, components = marker, body[0], body[5]
        adobe |= marker == APP14 and body.startswith(b"Adobe")
        gain_map |= _declares_gain_map(marker, body)
        place = max(end, place + 4)
        if marker == START_OF_SCAN:
            scans += 1
            found = _NEXT_MARKER.search(data, place)
            place = found.start() if found else len(data)
    return JpegStructure(scans, frame, bits, components, adobe, gain_map, min(place, len(data)))


def _declares_gain_map(marker: int, body: bytes) -> bool:
    if marker == APP2:
        return body.startswith(GAIN_MAP_URN)
    return marker == APP1 and body.startswith(XMP) and any(name in body for name in GAIN_MAP_XMP)


def find_film(data: bytes, end: int) -> bool:
    """Return whether an MP4 or QuickTime film follows the picture, as phones write motion photos.

    Phones put up to 64 KiB of their own between the two, and gain maps and previews, which are pictures of their own.
    """
    for _ in range(MAX_PICTURES):
        if b"ftyp" in data[end : end + 65_536]:
            return True
        if data[end : end + 3] != b"\xff\xd8\xff":
            return False
        end += read_jpeg_structure(data[end:]).end
    return False
