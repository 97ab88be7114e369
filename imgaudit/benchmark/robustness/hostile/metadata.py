"""Files full of private text: wherever a format keeps some, the marker stands there."""

import struct
import zlib

from PIL import Image

from imgaudit.benchmark.robustness.hostile.bytes import (
    UNDEFINED,
    Fields,
    jpeg_segment,
    longs,
    png_chunk,
    text_field,
    tiff,
    tiff_directory,
    with_jpeg_segments,
    with_png_chunks,
)
from imgaudit.benchmark.robustness.hostile.folder import HostileFolder, Outcome, encoded
from imgaudit.benchmark.robustness.hostile.pictures import FORMATS
from imgaudit.benchmark.robustness.hostile.profiles import rgb_profile

KIND = "metadata"

_XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"


def exif_block(marker: str) -> bytes:
    """EXIF with the marker as artist, copyright, owner, serial number, maker note and place.

    Not as description or comment of any kind: a caption may be taken from there.
    """
    place: Fields = {
        0x001B: (UNDEFINED, b"ASCII\0\0\0" + marker.encode()),
        0x001C: (UNDEFINED, b"ASCII\0\0\0" + marker.encode()),
    }
    camera: Fields = {
        0x927C: (UNDEFINED, marker.encode() * 3),
        0xA430: text_field(marker),
        0xA431: text_field(marker),
    }
    body = tiff_directory(place, 8)
    body += b"\0" * (len(body) % 2)
    camera_start = 8 + len(body)
    body += tiff_directory(camera, camera_start)
    pointers: Fields = {0x8825: longs(8), 0x8769: longs(camera_start)}
    return tiff({0x013B: text_field(marker), 0x8298: text_field(marker), **pointers}, body)


def xmp_packet(marker: str) -> bytes:
    """XMP with the marker in a field of its own and as the creator, not in dc:description."""
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
        f' xmlns:own="https://example.org/own/" own:note="{marker}" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<dc:creator><rdf:Seq><rdf:li>{marker}</rdf:li></rdf:Seq></dc:creator>"
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def iptc_record(marker: str) -> bytes:
    """IPTC with the marker as by-line and as a key word."""
    data = marker.encode()
    return b"".join(struct.pack(">BBBH", 0x1C, 2, number, len(data)) + data for number in (80, 25))


def _photoshop_block(marker: str) -> bytes:
    record = iptc_record(marker)
    padding = b"\0" * (len(record) % 2)
    return b"8BIM" + struct.pack(">HHI", 0x0404, 0, len(record)) + record + padding


def _jpeg(image: Image.Image, marker: str) -> bytes:
    data = encoded(image, "JPEG", icc_profile=rgb_profile(description=marker), comment=marker.encode())
    return with_jpeg_segments(
        data,
        jpeg_segment(0xE1, b"Exif\0\0" + exif_block(marker)),
        jpeg_segment(0xE1, _XMP_HEADER + xmp_packet(marker)),
        jpeg_segment(0xED, b"Photoshop 3.0\0" + _photoshop_block(marker)),
        jpeg_segment(0xEF, marker.encode()),
    )


def _png(image: Image.Image, marker: str) -> bytes:
    text = marker.encode()
    return with_png_chunks(
        encoded(image, "PNG"),
        png_chunk(b"iCCP", b"own\0\0" + zlib.compress(rgb_profile(description=marker))),
        png_chunk(b"eXIf", exif_block(marker)),
        png_chunk(b"tEXt", b"Comment\0" + text),
        png_chunk(b"tEXt", b"Author\0" + text),
        png_chunk(b"zTXt", b"Warning\0\0" + zlib.compress(text)),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp_packet(marker)),
        png_chunk(b"iTXt", b"Source\0\0\0\0\0" + text),
        png_chunk(b"prVt", text),
    )


def _gif(image: Image.Image, marker: str) -> bytes:
    data = encoded(image, "GIF", comment=marker.encode())
    packet = xmp_packet(marker)
    # XMP in a GIF is not cut into blocks; the run of counting bytes behind it leads any reader out again.
    tail = bytes([1, *range(255, -1, -1), 0])
    return data[:-1] + b"\x21\xff\x0bXMP DataXMP" + packet + tail + b";"


def put_metadata(target: HostileFolder, marker: str) -> None:
    """One file per format whose every text field is the marker, also behind the end of the image."""
    profile, behind = rgb_profile(description=marker), marker.encode()
    exif, packet = b"Exif\0\0" + exif_block(marker), xmp_packet(marker)
    files = {
        "photo.jpg": _jpeg(target.picture(), marker),
        "drawing.png": _png(target.picture(), marker),
        "comment.gif": _gif(target.picture(), marker),
        "web.webp": target.encoded("WEBP", exif=exif, xmp=packet, icc_profile=profile),
        "next.avif": target.encoded("AVIF", exif=exif, xmp=packet, icc_profile=profile),
        "scan.tif": encoded(
            target.picture(), "TIFF", icc_profile=profile,
            tiffinfo={315: marker, 33432: marker, 700: packet, 33723: iptc_record(marker)},
        ),
        "remark.ppm": target.encoded("PPM").replace(b"\n", b"\n# " + behind + b"\n", 1),
    }  # fmt: skip
    target.put_all(KIND, files, Outcome.MEASURED)
    for suffix, form in FORMATS.items():
        data = target.encoded(form) + behind
        target.put(KIND, f"bytes behind the end.{suffix}", data, Outcome.MEASURED)
    broken = jpeg_segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\x7f" + behind)
    target.put(KIND, "broken exif.jpg", with_jpeg_segments(target.encoded("JPEG"), broken), Outcome.EITHER)
    nested = jpeg_segment(0xE1, b"Exif\0\0" + tiff({0x8769: longs(8)}))
    target.put(KIND, "exif in itself.jpg", with_jpeg_segments(target.encoded("JPEG"), nested), Outcome.EITHER)
