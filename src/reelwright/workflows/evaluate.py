"""Look at clips: do they show what their prompts say, and how steady are they?"""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from reelwright.core.config import validate
from reelwright.core.errors import UserError
from reelwright.core.events import Event, Facts, FileSaved, Finished, Notice, StageStarted, StepDone
from reelwright.core.paths import check_writable, write_text_atomic
from reelwright.data.judging.prompts import read_prompt
from reelwright.data.judging.steadiness import measure_steadiness
from reelwright.data.judging.verdicts import hides_motions, judge, look_at
from reelwright.media.video_reader import probe_video, read_video
from reelwright.protocols.evaluate_config import EvaluateConfig
from reelwright.workflows.evaluating.finding import PromptedClip, find_clips
from reelwright.workflows.evaluating.results import ClipResult, percent_right, summarize

_STAGE = "evaluate"
_SIDE = 128
"""Pixels of the shorter side at which clips are looked at; smaller ones as they are."""
_MOST_LOOKS = 96
"""Frames in which objects are looked for; of longer clips, some are left out."""
_USUAL_RATE = 8.0


def run(clips: Sequence[Path], config: EvaluateConfig) -> Iterator[Event]:
    """Tell of each attribute that a prompt names whether it is right, or what is found instead.

    What prompts do not name is not judged. Raises UserError at the end if fewer than `at_least` percent of
    the attributes are right; the report is written all the same.
    """
    started = time.perf_counter()
    config = validate(config, "evaluate")
    found = find_clips(clips, config)
    check_writable(config.report.absolute().parent)
    results: list[ClipResult] = []
    yield StageStarted(_STAGE, len(found))
    before = time.perf_counter()
    for clip in found:
        results.append(_evaluate(clip, config))
        if not results[-1].verdicts:
            yield Notice(f"{clip.path}: {_nothing_to_judge(clip)}; only its steadiness is measured.")
        yield from results[-1].findings()
        seconds, before = time.perf_counter() - before, time.perf_counter()
        yield StepDone(_STAGE, len(results), len(found), seconds)
    report = {"summary": summarize(results), "clips": [result.as_data() for result in results]}
    write_text_atomic(config.report, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    yield FileSaved("report", str(config.report))
    yield Facts(summarize(results))
    yield Finished(({"report": str(config.report)},), time.perf_counter() - started)
    if (percent := percent_right(results)) < config.at_least:
        raise UserError(
            f"{percent:.1f} % of the attributes are right, fewer than the {config.at_least:g} % asked for."
        )


def _evaluate(clip: PromptedClip, config: EvaluateConfig) -> ClipResult:
    info = probe_video(clip.path)
    scale = min(_SIDE / min(info.width, info.height), 1.0)
    size = (max(round(info.width * scale), 1), max(round(info.height * scale), 1))
    frames_FHWC = read_video(clip.path, size=size).numpy().astype(np.float32)
    stride = -(-len(frames_FHWC) // _MOST_LOOKS)
    scene = look_at(frames_FHWC[::stride], (info.fps or config.fps or _USUAL_RATE) / stride)
    said = read_prompt(clip.prompt)
    return ClipResult(
        path=clip.path,
        prompt=clip.prompt,
        verdicts=tuple(judge(said, scene)),
        camera_moves=hides_motions(said, scene),
        steadiness=measure_steadiness(frames_FHWC),
    )


def _nothing_to_judge(clip: PromptedClip) -> str:
    if not clip.prompt:
        return "nobody says what it should show (--prompt, --prompts, or a text file beside it)"
    return "its prompt names nothing that can be judged"
