"""Check data sets: what is wrong with each item, what they come to, and a mended copy."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from reelwright import families
from reelwright.core.config import validate
from reelwright.core.errors import FileError, UserError
from reelwright.core.events import Event, Facts, FileSaved, Finished, Notice, StageStarted
from reelwright.core.paths import cache_folder
from reelwright.data.lint.look import LOOK_VERSION, Look
from reelwright.data.lint.roll import Roll
from reelwright.data.memory import Memory
from reelwright.protocols.cache_configs import ClipsConfig
from reelwright.protocols.caching import TextCache
from reelwright.protocols.datasets import DatasetFile
from reelwright.protocols.lint_config import LintConfig
from reelwright.workflows.caching.datasets import (
    caching_of,
    check_datasets,
    latents_of_clips,
    open_datasets,
    open_ledger,
)
from reelwright.workflows.linting.measuring import seconds_per_caption, seconds_per_pixel
from reelwright.workflows.linting.mending import Mending, check_out
from reelwright.workflows.linting.report import count_findings, describe
from reelwright.workflows.linting.survey import Eyes, Survey


def run(family: str, config: LintConfig, clips: ClipsConfig) -> Iterator[Event]:
    """Tell of every item what is wrong with it, then the totals; with `fix`, write a mended copy.

    Files that were watched before and did not change are not watched again. Raises FileError at the end if
    there are items that cannot be trained on.
    """
    config = validate(config, "dataset lint")
    started = time.perf_counter()
    datasets = open_datasets(clips.dataset)
    if config.fix:
        check_out(config.out, datasets.datasets)
    linting = _Linting(family, config, clips, datasets)
    with ExitStack() as held:
        roll = held.enter_context(Roll())
        memory = Memory(cache_folder() / "looks.sqlite", Look, version=LOOK_VERSION)
        held.callback(memory.close)
        ledger = open_ledger()
        held.callback(ledger.close)
        yield from linting.run(Eyes(ledger=ledger, memory=memory), roll)
        yield Finished(linting.files, time.perf_counter() - started)
    linting.raise_errors()


class _Linting:
    """One run."""

    def __init__(self, family: str, config: LintConfig, clips: ClipsConfig, datasets: DatasetFile) -> None:
        self._family, self._config, self._clips = family, config, clips
        self._datasets = datasets.datasets
        self._latents = latents_of_clips(family, clips)
        check_datasets(self._latents, self._datasets)
        self._num_bad_items = 0
        self.files: tuple[dict[str, str], ...] = ()
        """What was written."""

    def run(self, eyes: Eyes, roll: Roll) -> Iterator[Event]:
        texts, notices = self._find_texts()
        yield from map(Notice, dict.fromkeys([*self._latents.notices, *notices]))
        survey = Survey(eyes=eyes, latents=self._latents, texts=texts, num_workers=self._config.num_workers)
        yield from survey.run(self._datasets, roll)
        seconds: float | None = None
        if self._config.measure:
            yield StageStarted("measure the encoders")
            seconds = self._measure(survey, texts)
        yield Facts({**describe(survey.totals, seconds), **count_findings(survey.findings)})
        self._num_bad_items = survey.num_bad_items
        if self._config.fix and self._config.out is not None:
            yield from self._mend(survey, self._config.out)

    def raise_errors(self) -> None:
        """Raises FileError if items cannot be trained on."""
        if not self._num_bad_items:
            return
        bad = f"{self._clips.dataset}: items that cannot be trained on: {self._num_bad_items}."
        if self._config.fix:
            raise FileError(f"{bad} They were left out of {self._config.out}.")
        raise FileError(f"{bad} Mend them, or write a data set without them: --fix --out DIR")

    def _mend(self, survey: Survey, out: Path) -> Iterator[Event]:
        mending = Mending(survey=survey, out=out, repeated=survey.repeated)
        for event in mending.run(self._datasets):
            if isinstance(event, FileSaved):
                self.files = ({event.kind: event.path},)
            yield event
        self._num_bad_items = mending.num_bad_items

    def _find_texts(self) -> tuple[TextCache | None, list[str]]:
        """The text encoder with its tokenizer; or None, and why."""
        clips, schema = self._clips, families.configs(self._family).CACHE_TEXT
        try:
            found = caching_of(self._family).locate_texts(
                schema(dataset=clips.dataset, model=clips.model, offline=clips.offline)
            )
        except UserError as error:
            return None, [f"the length of captions is not checked, for want of the tokenizer: {error}"]
        return found, list(found.notices)

    def _measure(self, survey: Survey, texts: TextCache | None) -> float:
        """Seconds that all caches will take."""
        dataset = self._datasets[0]
        pixel = seconds_per_pixel(self._latents, dataset, self._latents.rule(dataset))
        caption = 0.0 if texts is None else seconds_per_caption(texts)
        return survey.totals.frame_pixels * pixel + survey.totals.num_captions * caption
