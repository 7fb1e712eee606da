"""How far plans are off: predicted against measured peak memory, each run in a process of its own.

python benchmarks/plan_error.py [NAME ...]

Ten runs of both families on a processor: clips, training and caches, of the smallest models and of models of
width 512, with random weights. Each is planned by `reelwright plan --json` and then made; measured is the
highest resident set (VmHWM), so this runs on Linux alone. Goal: at most 10 % off.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from reelwright.families.cogvideox import tiny as cogvideox
from reelwright.families.framepack import tiny as framepack

GOAL = 0.10
_RUN = (
    "import sys; from pathlib import Path; from reelwright.cli.main import main; code = main(sys.argv[1:]);"
    " said = Path('/proc/self/status').read_text();"
    " sys.stdout.write('VmHWM ' + said.partition('VmHWM:')[2].split()[0]); sys.exit(code)"
)
_CLIP = ("--prompt", "a red ball rolls", "--steps", "2", "--seed", "3")
_LENGTHS = {"cogvideox": (9, "8"), "framepack": (37, "30")}
_SIDE = 128


@dataclass(frozen=True, kw_only=True)
class Case:
    """One run: words for the command, and others that only the run or only the plan is told."""

    words: tuple[str, ...]
    of_run: tuple[str, ...] = ()
    of_plan: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Bytes."""

    predicted: int
    measured: int

    @property
    def error(self) -> float:
        """As a share of what was measured; above 0 if too much was predicted."""
        return self.predicted / self.measured - 1


def cases(folder: Path) -> dict[str, Callable[[], Case]]:
    """By name; models and data sets are made in `folder` when a case is asked for."""

    def wide(family: str) -> tuple[str, str]:
        return ("--model", str(wide_model(folder, family)))

    def small(family: str) -> tuple[str, str]:
        return ("--model", str(small_model(folder, family)))

    def clip(family: str, *words: str) -> Case:
        return Case(words=("generate", family, *_CLIP, *words), of_run=("--run", str(folder / "run")))

    def wide_clip(family: str, *words: str) -> Case:
        return clip(family, *wide(family), "--height", "192", "--width", "128", *words)

    def cache(kind: str, family: str) -> Case:
        data = ("--dataset", str(data_set(folder, family)), "--force")
        return Case(words=("cache", kind, family, *wide(family)), of_run=data, of_plan=_shape(family))

    def training(family: str, *words: str) -> Case:
        data = ("--dataset", str(data_set(folder, family)), "--run", str(folder / "run"))
        asked = ("train", family, *wide(family), "--steps", "2", "--seed", "1", *words)
        return Case(words=asked, of_run=data, of_plan=_shape(family))

    checkpoints = "--execution.activation-checkpoint"
    return {
        "clip, CogVideoX small": lambda: clip("cogvideox", *small("cogvideox")),
        "clip, CogVideoX wide": lambda: wide_clip("cogvideox", "--num-frames", "9"),
        "clip in tiles, CogVideoX wide": lambda: wide_clip(
            "cogvideox", "--num-frames", "9", "--execution.tiling"
        ),
        "clip, FramePack small": lambda: clip("framepack", *small("framepack"), "--video-sections", "1"),
        "clip, FramePack wide": lambda: wide_clip("framepack", "--video-sections", "1"),
        "latents, CogVideoX wide": lambda: cache("latents", "cogvideox"),
        "latents, FramePack wide": lambda: cache("latents", "framepack"),
        "captions, CogVideoX wide": lambda: cache("text", "cogvideox"),
        "LoRA, CogVideoX wide": lambda: training("cogvideox"),
        "LoRA, checkpoints, FramePack wide": lambda: training("framepack", checkpoints),
    }


def small_model(folder: Path, family: str) -> Path:
    """The smallest that is written."""
    path = folder / f"small-{family}"
    if not path.exists():
        (cogvideox if family == "cogvideox" else framepack).write_model(path)
    return path


def wide_model(folder: Path, family: str) -> Path:
    """A model of width 512 with random weights."""
    path = folder / f"wide-{family}"
    if path.exists():
        return path
    if family == "cogvideox":
        cogvideox.write_model(
            path,
            transformer=replace(
                cogvideox.TINY_TRANSFORMER, num_layers=8, num_attention_heads=8, time_embed_dim=256
            ),
            autoencoder=replace(
                cogvideox.TINY_AUTOENCODER, block_out_channels=(32, 64, 64, 128), layers_per_block=2
            ),
        )
        return path
    framepack.write_model(
        path,
        transformer=replace(
            framepack.TINY_TRANSFORMER,
            num_attention_heads=4,
            attention_head_dim=128,
            num_layers=3,
            num_single_layers=6,
            rope_axes_dim=(16, 56, 56),
        ),
        autoencoder=replace(
            framepack.TINY_AUTOENCODER, block_out_channels=(32, 64, 128, 128), layers_per_block=2
        ),
        direction="both",
    )
    return path


def data_set(folder: Path, family: str) -> Path:
    """Two drawn clips, encoded for the wide model."""
    path = folder / f"clips-{family}"
    if not path.exists():
        frames, fps = _LENGTHS[family]
        size = ("--width", str(_SIDE), "--height", str(_SIDE))
        words = ("dataset", "synth", str(path), "--count", "2", *size, "--seed", "3", "--fps", fps)
        measure(folder, (*words, "--num-frames", str(frames)))
        for kind in ("latents", "text"):
            data = ("--dataset", str(path / "dataset.toml"))
            measure(folder, ("cache", kind, family, "--model", str(wide_model(folder, family)), *data))
    return path / "dataset.toml"


def predict(folder: Path, words: tuple[str, ...]) -> int:
    """Peak bytes of the computer's memory that a plan tells."""
    lines = _run(folder, ("plan", *words, "--json")).splitlines()[:-1]
    plans = [event["plan"] for event in map(json.loads, lines) if event["event"] == "planned"]
    return int(plans[0]["host"])


def measure(folder: Path, words: tuple[str, ...]) -> int:
    """Peak bytes of a process of its own."""
    last = _run(folder, (*words, "--quiet")).splitlines()[-1]
    return int(last.removeprefix("VmHWM ")) * 1024


def try_out(folder: Path, case: Case) -> Outcome:
    """Plan it, and do it with nothing in the cache of prompts."""
    predicted = predict(folder, (*case.words, *case.of_plan))
    return Outcome(predicted=predicted, measured=measure(folder, (*case.words, *case.of_run)))


def _shape(family: str) -> tuple[str, ...]:
    return ("--clip", str(_SIDE), str(_SIDE), str(_LENGTHS[family][0]))


def _run(folder: Path, words: tuple[str, ...]) -> str:
    with tempfile.TemporaryDirectory(dir=folder) as caches:
        settings = {**os.environ, "REELWRIGHT_CACHE": caches}
        command = [sys.executable, "-W", "ignore", "-c"]
        done = subprocess.run(
            [*command, _RUN, *words], env=settings, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr}")
    shutil.rmtree(folder / "run", ignore_errors=True)
    return done.stdout


def main(names: list[str]) -> int:
    """Print a line for each run; 1 if one is further off than the goal."""
    worst = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, made in cases(folder).items():
            if names and not any(each in name for each in names):
                continue
            found = try_out(folder, made())
            worst = max(worst, abs(found.error))
            mb = [value / 1e6 for value in (found.predicted, found.measured)]
            print(
                f"{name:36} predicted {mb[0]:7.0f} MB, measured {mb[1]:7.0f} MB, {found.error:+.1%}",
                flush=True,
            )
    print(f"largest error {worst:.1%}; goal {GOAL:.0%}")
    return int(worst > GOAL)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
