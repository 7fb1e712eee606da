"""A copy of data sets without what is wrong with them; the originals stay as they are."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any

import tomli_w

from reelwright.core.config import to_mapping
from reelwright.core.errors import ConfigError, FileError
from reelwright.core.events import Event, FileSaved, ItemFinding, StageStarted, StepDone
from reelwright.core.locations import is_folder, local_path, name_of
from reelwright.core.paths import check_writable, remove_leftovers, write_text_atomic
from reelwright.data.lint.findings import Subject
from reelwright.data.lint.repair import Piece, plan_repair
from reelwright.data.lint.rewriting import write_clip, write_copy, write_picture
from reelwright.protocols.datasets import SOURCE_KEYS, DatasetConfig
from reelwright.workflows.linting.survey import Judgment, Survey

_STAGE = "write the mended copy"
_DATASET, _MARK = "dataset.toml", ".mended"
_CHANGED = frozenset(
    (*SOURCE_KEYS, "control_directory", "caption_extension", "cache_directory", "trim_seconds")
)
"""Keys that say where things are, which is elsewhere in the copy, or what is done in it already."""


def check_out(out: Path | None, datasets: Sequence[DatasetConfig]) -> None:
    """Raise ConfigError for a folder where originals could be, now or when it is read again."""
    if out is None:
        raise ConfigError("out: is missing. --fix writes a mended copy: --out DIR")
    for dataset in datasets:
        origin = local_path(dataset.origin)
        if origin is not None and out.resolve().is_relative_to(origin.resolve()):
            raise ConfigError(f"out: {out} lies in {origin}, which is mended. Name another folder.")
    if out.exists() and not (out / _MARK).exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"out: {out} holds something else already. Name a new folder.")


@dataclass(kw_only=True)
class Mending:
    """Writes a folder: the media of each data set, lists of them with captions, and dataset.toml."""

    survey: Survey
    out: Path
    repeated: Mapping[str, str]
    """Media that an earlier one shows already -> which one."""
    num_bad_items: int = 0
    """Left out for errors."""

    def run(self, datasets: Sequence[DatasetConfig]) -> Iterator[Event]:
        """What a stopped run has written is kept. Raises FileError where the disk refuses."""
        check_writable(self.out)
        write_text_atomic(self.out / _MARK, "Written by reelwright dataset lint --fix.\n")
        remove_leftovers(self.out)
        total = self.survey.totals.num_sources
        yield StageStarted(_STAGE, total)
        entries: list[dict[str, Any]] = []
        done = 0
        for number, dataset in enumerate(datasets, start=1):
            copy = _Copy(out=self.out, name=str(number))
            for judgment in self.survey.judge_all(dataset):
                yield from self._mend(judgment, copy)
                done += 1
                yield StepDone(_STAGE, done, total, 0.0)
            entries += copy.finish(dataset)
        if not entries:
            raise FileError(f"{self.out}: nothing is left to write: every item was left out.")
        write_text_atomic(
            self.out / _DATASET, "\n".join(f"[[datasets]]\n{tomli_w.dumps(entry)}" for entry in entries)
        )
        yield FileSaved("dataset", str(self.out / _DATASET))

    def _mend(self, judgment: Judgment, copy: "_Copy") -> Iterator[Event]:
        media = judgment.source.media
        errors = [finding.message for finding in judgment.findings if finding.severity == "error"]
        if errors or judgment.subject is None:
            self.num_bad_items += 1
            yield ItemFinding(media, "left out", errors[0], "error")
        elif media in self.repeated:
            yield ItemFinding(media, "left out", f"shows the same as {self.repeated[media]}.", "warning")
        elif reason := copy.add(judgment.subject):
            yield ItemFinding(media, "left out", reason, "warning")


@dataclass(kw_only=True)
class _Copy:
    """The copy of one data set. Lists say what is in it: files that an older run left do not count."""

    out: Path
    name: str
    _lines: dict[str, list[dict[str, str]]] = field(default_factory=dict[str, list[dict[str, str]]])
    """By kind, a line for each item."""
    _taken: set[str] = field(default_factory=set[str])

    def add(self, subject: Subject) -> str:
        """Write an item, mended where that is needed; or tell why it is left out."""
        try:
            plan = plan_repair(subject)
            if plan.reason:
                return plan.reason
            for piece in plan.pieces:
                self._write_piece(subject, piece)
            if not plan.pieces:
                self._write_whole(subject)
        except FileError as error:
            return str(error)
        return ""

    def finish(self, dataset: DatasetConfig) -> Iterator[dict[str, Any]]:
        """Write the lists; an entry of dataset.toml for each."""
        kept = {
            item.name: getattr(dataset, item.name)
            for item in fields(dataset)
            if item.name not in _CHANGED | {"family_keys"} and getattr(dataset, item.name) != item.default
        }
        for keys in dataset.family_keys.values():
            kept |= to_mapping(keys, only_changed=True)
        for kind, lines in self._lines.items():
            listed = f"{self.name}-{kind}s.jsonl"
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            write_text_atomic(self.out / listed, text)
            yield {f"{kind}_jsonl_file": listed, "cache_directory": f"{self.name}-{kind}s-cache", **kept}

    def _write_piece(self, subject: Subject, piece: Piece) -> None:
        suffix = ".mp4" if subject.is_clip else ".png"
        path = self._free(subject.source.stem, suffix, first=1)
        media, facts = subject.source.media, subject.facts
        if subject.is_clip:
            write_clip(media, facts.content, facts.size, piece, self.out / path)
        else:
            write_picture(media, piece, self.out / path)
        self._list(subject, path)

    def _write_whole(self, subject: Subject) -> None:
        source = subject.source
        path = self._free(source.stem, _suffix(source.media))
        write_copy(source.media, subject.facts.content, self.out / path)
        controls: dict[str, str] = {}
        for number, control in enumerate(source.controls):
            beside = f"{self.name}/control/{PurePosixPath(path).stem}_{number}{_suffix(control)}"
            write_copy(control, "", self.out / beside)
            controls[f"control_path_{number}"] = beside
        self._list(subject, path, controls)

    def _free(self, stem: str, suffix: str, first: int = 0) -> str:
        """A path that no other item has, of `stem` or else with a number; the same in every run."""
        number = first
        while (name := f"{stem}-{number}" if number else stem) in self._taken:
            number += 1
        self._taken.add(name)
        return f"{self.name}/{name}{suffix}"

    def _list(self, subject: Subject, path: str, controls: Mapping[str, str] | None = None) -> None:
        kind, caption = subject.source.kind, subject.source.caption or ""
        line = {f"{kind}_path": path, "caption": caption, **(controls or {})}
        self._lines.setdefault(kind, []).append(line)


def _suffix(media: str) -> str:
    """Of the file's name; a folder of pictures has none."""
    return "" if is_folder(media) else PurePosixPath(name_of(media)).suffix
