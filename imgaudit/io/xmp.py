"""XMP: the packet inside an image file, or the sidecar file beside one.

The bytes are untrusted. XML is read as a stream, without DTDs and entities, so neither depth nor size costs much, and
damage never raises.
"""

from dataclasses import dataclass, field

from defusedxml.ElementTree import XMLParser

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
DESCRIPTION = "{http://purl.org/dc/elements/1.1/}description"
CREATOR_TOOL = "{http://ns.adobe.com/xap/1.0/}CreatorTool"
SOURCE_TYPE = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"

_READ = 16384
"""Bytes that the parser gets at a time."""


@dataclass
class XmpFacts:
    """The properties of a packet that are used here, as they stand there."""

    descriptions: list[str] = field(default_factory=list)
    """dc:description, the default language first, then in the order of the file."""
    creator_tools: list[str] = field(default_factory=list)
    """xmp:CreatorTool: the program that made the picture."""
    source_types: list[str] = field(default_factory=list)
    """Iptc4xmpExt:DigitalSourceType: the address of IPTC's term for how the picture came about."""
    damaged: bool = False
    """True when the packet could not be read to its end."""


class _Target:
    """Gathers properties as the parser calls it, without building a tree."""

    def __init__(self) -> None:
        self.facts = XmpFacts()
        self._found = {
            DESCRIPTION: self.facts.descriptions,
            CREATOR_TOOL: self.facts.creator_tools,
            SOURCE_TYPE: self.facts.source_types,
        }
        self._path: list[str] = []
        self._texts: list[tuple[str, list[str]]] = []
        self._depth = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._path.append(tag)
        # Only at the top: what a picture was made from has properties too, nested deeper.
        top = [f"{RDF}RDF", f"{RDF}Description"]
        if self._path[-2:] == top:
            for name, found in self._found.items():
                found += [value for value in (attributes.get(name, ""),) if value.strip()]
        elif self._path[-3:-1] == top and tag in self._found:
            self._depth, self._texts = len(self._path), [("", [attributes.get(f"{RDF}resource", "")])]
        elif self._depth and tag == f"{RDF}li":
            self._texts.append((attributes.get(LANGUAGE, ""), []))

    def data(self, text: str) -> None:
        if self._depth:
            self._texts[-1][1].append(text)

    def end(self, tag: str) -> None:
        if self._depth == len(self._path):
            default_first = sorted(self._texts, key=lambda item: item[0] != "x-default")
            self._found[tag] += [text for _, parts in default_first if (text := "".join(parts).strip())]
            self._depth = 0
        self._path.pop()


def read_xmp(packet: bytes) -> XmpFacts:
    """Return what a packet or a sidecar file says; what stands before a damage counts all the same.

    >>> read_xmp(b"").descriptions, read_xmp(b"<x").damaged
    ([], True)
    """
    packet = packet.strip(b"\0 \t\r\n")
    target = _Target()
    parser = XMLParser(target=target, forbid_dtd=True)
    try:
        for start in range(0, len(packet), _READ):
            parser.feed(packet[start : start + _READ])
        if packet:
            parser.close()
    except Exception:
        # expat, its decoders and defusedxml raise almost anything on hostile bytes; it always means "not readable".
        target.facts.damaged = True
    return target.facts
