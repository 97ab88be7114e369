"""A copy of a valid model that is about to be broken: files replaced, keys changed, headers rewritten, traps laid."""

import json
import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgaudit.benchmark.robustness.hostile.model_files import INDEX, SHARD, TEXT


@dataclass(frozen=True)
class BrokenModel:
    """One copy; every name is relative to its folder."""

    path: Path
    """Its folder."""
    planted: Path
    """The file that its traps create when they are executed."""
    outside: Path
    """A valid model beside this one, of which nothing may be read."""

    def write(self, name: str, data: bytes) -> None:
        """Put a file in its place. It may be a hard link to the valid model's, so it is never written into."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_bytes(data)

    def change(self, name: str, changes: dict[str, Any]) -> None:
        """Change some keys of a JSON file, or begin one."""
        file = self.path / name
        before = json.loads(file.read_bytes()) if file.is_file() else {}
        self.write(name, json.dumps(before | changes).encode())

    def remove(self, name: str) -> None:
        """Delete a file or a folder."""
        file = self.path / name
        if file.is_dir():
            shutil.rmtree(file)
        else:
            file.unlink()

    def link(self, name: str, target: str) -> None:
        """Put a symbolic link in the place of a file or a folder; `{outside}` in its target is the valid model."""
        self.remove(name)
        (self.path / name).symlink_to(target.format(outside=self.outside))

    def tensors(self, name: str) -> tuple[dict[str, Any], bytes]:
        """Header of a file of weights, in the order of the data, and the data."""
        data = (self.path / name).read_bytes()
        end = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:end])
        header.pop("__metadata__", None)
        return dict(sorted(header.items(), key=lambda item: item[1]["data_offsets"])), data[end:]

    def write_tensors(self, name: str, header: dict[str, Any], data: bytes) -> None:
        """Write a file of weights, whatever its header says."""
        text = json.dumps({"__metadata__": {"format": "pt"}} | header).encode()
        self.write(name, len(text).to_bytes(8, "little") + text + data)

    def shard(self, **changes: Any) -> None:
        """Make the text encoder's weights one shard with an index, and change some keys of the index."""
        held = dict.fromkeys(self.tensors(TEXT)[0], Path(SHARD).name)
        (self.path / TEXT).rename(self.path / SHARD)
        self.change(INDEX, {"metadata": {}, "weight_map": held} | changes)

    def trap(self) -> bytes:
        """A pickle that creates the planted file when it is opened."""
        planted = str(self.planted)

        class Trap:
            def __reduce__(self) -> tuple[Any, tuple[str, str]]:
                return open, (planted, "w")

        return pickle.dumps(Trap())
