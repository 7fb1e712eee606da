"""Every item of the data sets once, watched by threads, told of in order."""

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field

from reelwright.core.ahead import run_ahead
from reelwright.core.errors import FileError
from reelwright.core.events import Event, ItemFinding, StageStarted, StepDone
from reelwright.data.clips import cut_clips
from reelwright.data.lint.captions import TokenLimit, find_caption_faults
from reelwright.data.lint.checks import check
from reelwright.data.lint.findings import Finding, Severity, Subject
from reelwright.data.lint.look import Look
from reelwright.data.lint.roll import Roll
from reelwright.data.lint.totals import Totals
from reelwright.data.lint.watching import watch
from reelwright.data.media_facts import MediaLedger
from reelwright.data.memory import Memory
from reelwright.data.sources import all_sources
from reelwright.data.sources.listing import Listed
from reelwright.protocols.caching import LatentCache, TextCache
from reelwright.protocols.clips import MediaFacts, Source
from reelwright.protocols.datasets import DatasetConfig
from reelwright.workflows.caching.datasets import absolute, folder_of

_STAGE = "watch the clips"
_MOST_WORKERS = 8
_AHEAD = 3
"""Items per worker that are watched before their turn."""


@dataclass(frozen=True, kw_only=True)
class Eyes:
    """What is known of media, and the looking where it is not."""

    ledger: MediaLedger
    memory: Memory[Look]
    """By what the files hold: a copy, or a file that was moved, is not watched again."""

    def see(self, source: Source) -> tuple[MediaFacts, Look]:
        """Raises FileError for what cannot be opened."""
        facts = self.ledger.facts(source)
        key = f"{source.kind} {facts.content}"
        look = self.memory.recall(key)
        if look is None:
            look = watch(source, facts)
            self.memory.remember(key, look)
        return facts, look


@dataclass(frozen=True, kw_only=True)
class Judgment:
    """An item with all that is said of it alone."""

    source: Source
    findings: tuple[Finding, ...]
    subject: Subject | None
    """None for what cannot be opened."""

    @property
    def has_errors(self) -> bool:
        return any(finding.severity == "error" for finding in self.findings)


@dataclass(kw_only=True)
class Survey:
    """Goes through data sets; what it counts stays."""

    eyes: Eyes
    latents: LatentCache
    texts: TextCache | None
    """None where the tokenizer is not at hand."""
    num_workers: int
    totals: Totals = field(default_factory=Totals)
    findings: Counter[tuple[str, Severity]] = field(default_factory=Counter[tuple[str, Severity]])
    """How many there are of each kind."""
    repeated: dict[str, str] = field(default_factory=dict[str, str])
    """Media that an earlier one shows already -> which one."""
    num_bad_items: int = 0

    def run(self, datasets: Sequence[DatasetConfig], roll: Roll) -> Iterator[Event]:
        """Findings of each item, then those that concern several."""
        yield StageStarted(_STAGE)
        before = time.perf_counter()
        for number, dataset in enumerate(datasets):
            for judgment in self.judge_all(dataset):
                self._count(number, dataset, judgment, roll)
                yield from self.tell(judgment.source.media, judgment.findings)
                now = time.perf_counter()
                yield StepDone(_STAGE, self.totals.num_sources, 0, now - before)
                before = now
        for media, finding in roll.alike_stems():
            self.num_bad_items += 1
            yield from self.tell(media, [finding])
        for repetition in roll.repetitions():
            self.repeated[repetition.media] = repetition.original
            yield from self.tell(repetition.media, [repetition.finding()])

    def judge_all(self, dataset: DatasetConfig) -> Iterator[Judgment]:
        """Each item of a data set. A wrong line, or a list that breaks off, is a finding on the data set."""
        num_workers = self.num_workers or min(os.cpu_count() or 1, _MOST_WORKERS)
        num_ahead = _AHEAD * num_workers
        try:
            listing = all_sources(dataset)
            with closing(run_ahead(self._see, listing, num_workers=num_workers, num_ahead=num_ahead)) as seen:
                for listed, looked in seen:
                    if isinstance(listed, FileError):
                        yield _wrong_list(dataset, listed)
                    else:
                        yield self._judge(listed, dataset, looked)
        except FileError as error:
            yield _wrong_list(dataset, error)

    def tell(self, item: str, findings: Sequence[Finding]) -> Iterator[Event]:
        """An event for each finding, counted."""
        for finding in findings:
            self.findings[finding.kind, finding.severity] += 1
            yield ItemFinding(item, finding.kind, finding.message, finding.severity)

    def _see(self, listed: Listed) -> tuple[MediaFacts, Look]:
        if isinstance(listed, FileError):
            raise listed
        return self.eyes.see(listed)

    def _judge(
        self, source: Source, dataset: DatasetConfig, looked: "Future[tuple[MediaFacts, Look]]"
    ) -> Judgment:
        captions = find_caption_faults(source, self._limit())
        try:
            facts, look = looked.result()
        except FileError as error:
            unreadable = Finding(kind="unreadable", severity="error", message=_without(source, str(error)))
            return Judgment(source=source, findings=(unreadable, *captions), subject=None)
        rule = self.latents.rule(dataset)
        subject = Subject(source=source, dataset=dataset, rule=rule, facts=facts, look=look)
        findings = [*check(subject), *captions]
        if not any(finding.severity == "error" for finding in findings):
            findings += self._find_unusable(subject)
        return Judgment(source=source, findings=tuple(findings), subject=subject)

    def _find_unusable(self, subject: Subject) -> Iterator[Finding]:
        """What the cutting of clips, or the family, has against an item that no check found bad."""
        try:
            for clip in cut_clips(subject.source, subject.facts, subject.dataset, subject.rule):
                self.latents.entries(clip, subject.dataset)
        except FileError as error:
            message = _without(subject.source, str(error))
            yield Finding(kind="unusable", severity="error", message=message)

    def _count(self, number: int, dataset: DatasetConfig, judgment: Judgment, roll: Roll) -> None:
        self.totals.num_sources += 1
        self.num_bad_items += judgment.has_errors
        subject = judgment.subject
        if subject is None:
            return
        roll.add(subject.source, absolute(folder_of(dataset)), subject.facts.content, subject.look)
        if judgment.has_errors:
            return
        clips = cut_clips(subject.source, subject.facts, dataset, subject.rule)
        self.totals.add_clips(number, dataset, clips)
        for clip in clips:
            self.totals.add_entries(number, self.latents.entries(clip, dataset))
        if self.texts is not None:
            self.totals.add_text(self.texts.entry(subject.source))

    def _limit(self) -> TokenLimit | None:
        if self.texts is None:
            return None
        return TokenLimit(max_tokens=self.texts.max_tokens, count_tokens=self.texts.count_tokens)


def _wrong_list(dataset: DatasetConfig, error: FileError) -> Judgment:
    origin = dataset.origin
    listing = Source(media=origin, kind="video", stem="", caption="", caption_origin="")
    message = _without(listing, str(error)).removeprefix(f"{origin} ")  # as of "d.jsonl line 3: ..."
    fault = Finding(kind="list", severity="error", message=message)
    return Judgment(source=listing, findings=(fault,), subject=None)


def _without(source: Source, message: str) -> str:
    """A message without the name of the item, which stands beside it already."""
    return message.removeprefix(f"{source.media}: ")
