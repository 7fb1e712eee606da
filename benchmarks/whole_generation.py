"""Whole CogVideoX generations here and in diffusers: same weights, prompts, steps and sampler, in turn.

    python benchmarks/whole_generation.py            # both rows, prints the table, writes results/
    python benchmarks/whole_generation.py --write-docs
    python benchmarks/whole_generation.py tiny       # one of them
    python benchmarks/whole_generation.py tiny --stages   # what ours spends where

From a prompt that was never seen before to pixels in memory; networks are loaded before, on both sides. Time
is what the processor worked for the process, in one thread: that does not depend on what else it does.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count, pairwise
from pathlib import Path

import diffusers
import torch
from measure import Row, alternate, table, write_results, write_table

from reelwright.core.config import from_mapping
from reelwright.core.events import StageStarted
from reelwright.families.cogvideox.checkpoints import locate
from reelwright.families.cogvideox.config import CogVideoXGenerate, TransformerConfig
from reelwright.families.cogvideox.generate import CogVideoXSession
from reelwright.families.cogvideox.requests import resolve
from reelwright.families.cogvideox.tiny import TINY_TRANSFORMER, write_model
from reelwright.media.video_writer import write_mp4
from reelwright.protocols.family import Segment

ROOT = Path(__file__).parent
DOCS = ROOT.parent / "docs" / "explanation" / "performance.md"
TINY = ROOT.parent / "src" / "reelwright" / "assets" / "cogvideox-tiny"
WIDE = replace(TINY_TRANSFORMER, num_layers=8, num_attention_heads=8, attention_head_dim=64)
GOAL = 1 / 1.3


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    transformer: TransformerConfig | None
    """Random weights of these sizes, with the embedded model's other parts made anew; None: the embedded."""
    steps: int
    num_frames: int
    pairs: int


CASES = {
    "tiny": Case(name="the embedded tiny model", transformer=None, steps=20, num_frames=17, pairs=2),
    "wide": Case(name="width 512, 8 layers", transformer=WIDE, steps=4, num_frames=9, pairs=2),
}


def main() -> None:
    torch.set_num_threads(1)
    chosen = [case for name, case in CASES.items() if name in sys.argv] or list(CASES.values())
    rows: list[Row] = []
    for case in chosen:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(row_of(case, Path(folder)))
    if "--stages" in sys.argv:
        return
    print(table(rows))
    if chosen == list(CASES.values()):
        write_results(ROOT / "results" / "cogvideox_whole_generation.json", rows)
    if "--write-docs" in sys.argv:
        write_table(DOCS, "whole generation", rows)


def row_of(case: Case, folder: Path) -> Row:
    if case.transformer is not None:
        write_model(folder, transformer=case.transformer)
    model = TINY if case.transformer is None else folder
    ours, prompts = our_generation(case, model), (f"a ball rolls, take {n}" for n in count())
    if "--stages" in sys.argv:
        print_stages(case, ours, prompts)
        return Row("", "s", 0.0, 0.0, 0.0)
    theirs = their_generation(case, model)
    return alternate(
        f"{case.name}: {case.steps} steps, {case.num_frames} x 128 x 128",
        lambda: [list(made.decode()) for made in ours(next(prompts)) if isinstance(made, Segment)],
        lambda: theirs(next(prompts)),
        pairs=case.pairs,
        goal=GOAL,
        clock=time.process_time,
    )


def our_generation(case: Case, folder: Path) -> Callable[[str], Iterator[object]]:
    sizes = {"height": 128, "width": 128, "num_frames": case.num_frames, "steps": case.steps}
    execution = {"dtype": "float32", "device": "cpu", "preset": "exact"}
    values = {**sizes, "model": str(folder), "seed": 1, "preview_every": 0, "execution": execution}
    config = from_mapping(CogVideoXGenerate, values, "benchmark")
    model = locate(config)
    session = CogVideoXSession(model, config.execution)

    def generate(prompt: str) -> Iterator[object]:
        request = resolve(replace(config, prompt=prompt), model)
        return session.generate([request], lambda key: None)

    return generate


def their_generation(case: Case, folder: Path) -> Callable[[str], object]:
    pipeline = diffusers.CogVideoXPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)

    def generate(prompt: str) -> object:
        return pipeline(
            prompt,
            height=128,
            width=128,
            num_frames=case.num_frames,
            num_inference_steps=case.steps,
            max_sequence_length=64,
            generator=torch.Generator("cpu").manual_seed(1),
            output_type="np",
        )

    return generate


def print_stages(case: Case, ours: Callable[[str], Iterator[object]], prompts: Iterator[str]) -> None:
    """Seconds of the processor, of the second clip; the first one loads."""
    for seen in range(2):
        marks: list[tuple[str, float]] = []
        for made in ours(next(prompts)):
            if isinstance(made, StageStarted):
                marks.append((made.stage, time.process_time()))
            if isinstance(made, Segment):
                marks.append(("decode", time.process_time()))
                frames = list(made.decode())
                marks.append(("mp4", time.process_time()))
                with tempfile.TemporaryDirectory() as folder:
                    write_mp4(Path(folder) / "clip.mp4", frames, fps=8)
        marks.append(("", time.process_time()))
        if seen:
            print(
                case.name,
                {name: round(end - start, 2) for (name, start), (_, end) in pairwise(marks)},
            )


if __name__ == "__main__":
    main()
