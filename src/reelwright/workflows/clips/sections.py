"""Sections of a clip on disk, kept as they are made, and the manifest that says what they are."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reelwright.checkpoint.safetensors_io import open_tensors, save_safetensors
from reelwright.core.errors import FileError
from reelwright.core.paths import sha256_of, write_text_atomic
from reelwright.protocols.family import Section

_LATENTS = "latent"
_FACTS = "section"
MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class KeptSection:
    """One line of the manifest."""

    key: str
    index: int
    total: int
    file: str
    sha256: str
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])


class SectionShelf:
    """The sections of one clip, those of other versions of it too: each is found by its key alone.

    A section whose file is missing or damaged counts as absent, and `notices` say so.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notices: list[str] = []
        self._kept = {kept.key: kept for kept in self._read() if self._is_whole(kept)}

    def find(self, key: str) -> Tensor | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        with open_tensors(self.folder / kept.file) as source:
            return source.read(_LATENTS)

    def keep(self, section: Section) -> Path:
        """Have the section on disk and in the manifest; its file."""
        kept = self._kept.get(section.key)
        if kept is None:
            kept = self._save(section)
        self._kept[section.key] = kept
        lines = [asdict(each) for each in self._kept.values()]
        write_text_atomic(self.folder / MANIFEST, json.dumps({"sections": lines}, indent=1) + "\n")
        return self.folder / kept.file

    def _save(self, section: Section) -> KeptSection:
        path = self.folder / f"section-{section.index:03d}_{section.key[:8]}.safetensors"
        facts: dict[str, Any] = {
            "key": section.key,
            "index": section.index,
            "total": section.total,
            "facts": dict(section.facts),
        }
        text = json.dumps(facts, sort_keys=True, ensure_ascii=False)
        save_safetensors(path, {_LATENTS: section.latents_BCTHW}, {_FACTS: text})
        return KeptSection(**facts, file=path.name, sha256=sha256_of(path))

    def _read(self) -> list[KeptSection]:
        path = self.folder / MANIFEST
        if not path.exists():
            return self._read_files()
        try:
            lines = json.loads(path.read_text(encoding="utf-8"))["sections"]
            kept = [KeptSection(**line) for line in lines]
            if any(Path(each.file).name != each.file for each in kept):
                raise ValueError("a manifest lists files beside it only")
        except (ValueError, KeyError, TypeError, OSError):
            self.notices.append(f"{path}: is damaged; the sections are listed again from their files.")
            return self._read_files()
        listed = {each.file for each in kept}
        return kept + [each for each in self._read_files() if each.file not in listed]

    def _read_files(self) -> list[KeptSection]:
        """What files say of themselves, those that came too late for the manifest too."""
        kept: list[KeptSection] = []
        for path in sorted(self.folder.glob("section-*.safetensors")):
            try:
                with open_tensors(path) as source:
                    facts = json.loads(source.metadata[_FACTS])
                    finite = bool(torch.isfinite(source.read(_LATENTS)).all())
                if finite:
                    kept.append(KeptSection(**facts, file=path.name, sha256=sha256_of(path)))
            except (FileError, ValueError, KeyError, TypeError):
                continue  # one that the manifest lists is told of as damaged
        return kept

    def _is_whole(self, kept: KeptSection) -> bool:
        path = self.folder / kept.file
        fault = "is missing" if not path.is_file() else "is damaged"
        if path.is_file() and sha256_of(path) == kept.sha256:
            return True
        self.notices.append(f"{path}: {fault}; section {kept.index} is made again.")
        return False
