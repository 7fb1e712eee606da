"""FramePack here and in diffusers: time and memory on the same random weights.

    python benchmarks/framepack_vs_diffusers.py            # all rows, prints the table, writes results/
    python benchmarks/framepack_vs_diffusers.py --write-docs

On a processor the networks have the released topology at reduced width; on a GPU the transformer has its real
size in bfloat16, with a whole section of 25 steps at 640 x 640.
"""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import diffusers
import torch
from measure import (
    Row,
    alternate,
    in_fresh_process,
    peak_growth,
    process_peak,
    seconds_of_command,
    table,
    write_results,
    write_table,
)

from reelwright.core.config import from_mapping
from reelwright.families.framepack.autoencoder import FramePackAutoencoder
from reelwright.families.framepack.conditions import CleanLatents, Conditions
from reelwright.families.framepack.config import AutoencoderConfig, FramePackGenerate, TransformerConfig
from reelwright.families.framepack.key_maps import RELEASED_AUTOENCODER, RELEASED_TRANSFORMER
from reelwright.families.framepack.sections import SectionLayout, Timeline, section_layouts
from reelwright.families.framepack.transformer import FramePackTransformer
from reelwright.workflows import generate

ROOT = Path(__file__).parent
RESULTS = ROOT / "results"
DOCS = ROOT.parent / "docs" / "explanation" / "performance.md"
ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
DTYPE = torch.bfloat16 if ON_GPU else torch.float32

REDUCED_TRANSFORMER = TransformerConfig(num_attention_heads=4, num_layers=3, num_single_layers=6)
TRANSFORMER = TransformerConfig() if ON_GPU else REDUCED_TRANSFORMER
LATENTS_HW = (80, 80) if ON_GPU else (30, 46)
AUTOENCODER = AutoencoderConfig() if ON_GPU else AutoencoderConfig(block_out_channels=(32, 64, 128, 128))
PIXELS = (1, 3, 73, 640, 640) if ON_GPU else (1, 3, 73, 192, 192)
NUM_TEXT_TOKENS, NUM_STEPS = 200, 25
COMMAND = str(Path(sys.executable).parent / "reelwright")


@torch.no_grad()
def main() -> None:
    rows = [*transformer_rows(), *autoencoder_rows(), *memory_rows()]
    if not ON_GPU:
        rows += [length_row(), *start_rows()]
    print(table(rows))
    write_results(RESULTS / f"framepack_{DEVICE.type}.json", rows)
    if "--write-docs" in sys.argv:
        write_table(DOCS, "framepack", rows)


def transformers_of_both() -> tuple[FramePackTransformer, diffusers.HunyuanVideoFramepackTransformer3DModel]:
    torch.manual_seed(0)
    names = (
        "num_attention_heads",
        "num_layers",
        "num_single_layers",
        "text_embed_dim",
        "pooled_projection_dim",
    )
    settings = {name: getattr(TRANSFORMER, name) for name in names}
    with torch.device(DEVICE):
        theirs = diffusers.HunyuanVideoFramepackTransformer3DModel(
            **settings, has_image_proj=True, has_clean_x_embedder=True
        ).to(DTYPE)
        ours = FramePackTransformer(TRANSFORMER).to(DTYPE)
    ours.load_state_dict(RELEASED_TRANSFORMER.to_ours(theirs.state_dict()))
    return ours.eval(), theirs.eval()


def call_of_both() -> tuple[Callable[[], object], Callable[[], object]]:
    """One call of each transformer for a section in the middle of a video."""
    ours, theirs = transformers_of_both()
    layout = section_layouts(Timeline(num_sections=4), "backward")[1]
    height, width = LATENTS_HW

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=DEVICE, dtype=DTYPE)

    noisy = random(1, 16, 9, height, width)
    text, pooled, image = random(1, 512, 4096), random(1, 768), random(1, 729, 1152)
    clean = {name: random(1, 16, count, height, width) for name, count in (("1x", 2), ("2x", 2), ("4x", 16))}
    guidance = torch.tensor([10_000.0], device=DEVICE, dtype=DTYPE)
    timestep = torch.tensor([500.0], device=DEVICE)
    conditions = Conditions(
        text_BLD=text,
        text_lengths=(NUM_TEXT_TOKENS,),
        pooled_BD=pooled,
        image_BLD=image,
        guidance_B=guidance,
        indices_BT=torch.tensor([layout.indices]),
        **{f"clean_{name}": _clean(layout, name, latents) for name, latents in clean.items()},
    )
    mask = torch.zeros(1, 512, device=DEVICE, dtype=DTYPE)
    mask[:, :NUM_TEXT_TOKENS] = 1
    indices = {name: _indices(layout, name) for name in clean}

    def run_theirs() -> object:
        return theirs(
            hidden_states=noisy,
            timestep=timestep,
            encoder_hidden_states=text,
            encoder_attention_mask=mask,
            pooled_projections=pooled,
            image_embeds=image,
            indices_latents=torch.tensor(layout.indices),
            guidance=guidance,
            latents_clean=clean["1x"],
            indices_latents_clean=indices["1x"],
            latents_history_2x=clean["2x"],
            indices_latents_history_2x=indices["2x"],
            latents_history_4x=clean["4x"],
            indices_latents_history_4x=indices["4x"],
            return_dict=False,
        )

    return lambda: ours(noisy, timestep, conditions), run_theirs


def _indices(layout: SectionLayout, name: str) -> torch.Tensor:
    return torch.tensor(getattr(layout, f"clean_{name}").indices)


def _clean(layout: SectionLayout, name: str, latents: torch.Tensor) -> CleanLatents:
    return CleanLatents(latents_BCTHW=latents, indices_BT=_indices(layout, name)[None])


def transformer_rows() -> list[Row]:
    run_ours, run_theirs = call_of_both()
    height, width = LATENTS_HW
    size = "real size" if ON_GPU else "width 512, 3 + 6 layers"
    name = f"transformer forward ({size}, 9 x {height} x {width} latents and history)"
    rows = [alternate(name, run_ours, run_theirs, pairs=7, goal=0.95)]
    if ON_GPU:
        sections = (lambda: _repeat(run_ours), lambda: _repeat(run_theirs))
        rows.append(alternate(f"one section, {NUM_STEPS} steps", *sections, pairs=2))
        peaks = [in_fresh_process(__file__, "--peak", side, "section") for side in ("ours", "theirs")]
        rows.append(Row("one section, peak memory", "MiB", *peaks, peaks[0] / peaks[1]))
    return rows


def _repeat(run: Callable[[], object]) -> None:
    for _ in range(NUM_STEPS):
        run()


def autoencoders_of_both() -> tuple[FramePackAutoencoder, diffusers.AutoencoderKLHunyuanVideo]:
    torch.manual_seed(0)
    with torch.device(DEVICE):
        theirs = diffusers.AutoencoderKLHunyuanVideo(**asdict(AUTOENCODER)).to(DTYPE)
        ours = FramePackAutoencoder(AUTOENCODER).to(DTYPE)
    theirs.use_framewise_encoding = theirs.use_framewise_decoding = False
    ours.load_state_dict(RELEASED_AUTOENCODER.to_ours(theirs.state_dict()))
    return ours.eval(), theirs.eval()


def clip_and_latents() -> tuple[torch.Tensor, torch.Tensor]:
    _, _, frames, height, width = PIXELS
    clip = torch.rand(PIXELS, device=DEVICE, dtype=DTYPE) * 2 - 1
    shape = (1, 16, (frames - 1) // 4 + 1, height // 8, width // 8)
    return clip, torch.randn(shape, device=DEVICE, dtype=DTYPE)


def autoencoder_rows() -> list[Row]:
    ours, theirs = autoencoders_of_both()
    clip, latents = clip_and_latents()
    size = " x ".join(map(str, PIXELS[2:]))
    pairs = 3
    return [
        alternate(
            f"VAE encode, untiled ({size})",
            lambda: ours.encode(clip),
            lambda: theirs.encode(clip),
            pairs=pairs,
            goal=0.7,
        ),
        alternate(
            f"VAE decode, untiled ({size})",
            lambda: ours.decode(latents),
            lambda: theirs.decode(latents),
            pairs=pairs,
        ),
    ]


def memory_rows() -> list[Row]:
    """Each in a fresh process, above the loaded model."""
    size = " x ".join(map(str, PIXELS[2:]))
    rows: list[Row] = []
    for work, goal in (("encode", 0.5), ("decode", None)):
        peaks = [in_fresh_process(__file__, "--peak", side, work) for side in ("ours", "theirs")]
        rows.append(Row(f"VAE {work}, peak memory ({size})", "MiB", *peaks, peaks[0] / peaks[1], goal))
    return rows


@torch.no_grad()
def print_peak(side: str, work: str) -> None:
    is_theirs = side == "theirs"
    if work == "section":
        run = call_of_both()[is_theirs]
        print(peak_growth(run))
        return
    model = autoencoders_of_both()[is_theirs]
    clip, latents = clip_and_latents()
    argument = clip if work == "encode" else latents
    print(peak_growth(lambda: getattr(model, work)(argument)))


def length_row() -> Row:
    """Whole runs of the tiny model in fresh processes: 60 seconds of video beside 5."""
    peaks = [in_fresh_process(__file__, "--length", seconds) for seconds in ("60", "5")]
    name = "whole tiny run at 64 x 64, peak memory: 60 s (ours) and 5 s of video"
    return Row(name, "MiB", *peaks, peaks[0] / peaks[1], 1.05)


def print_peak_of_run(seconds: str) -> None:
    """Peak memory of the process in MiB, everything in it."""
    with tempfile.TemporaryDirectory() as folder:
        values = {
            "prompt": "a red ball rolls over the floor",
            "video_seconds": float(seconds),
            "height": 64,
            "width": 64,
            "steps": 1,
            "seed": 1,
            "preview_every": 0,
            "run": f"{folder}/run",
        }
        list(generate.run("framepack", from_mapping(FramePackGenerate, values, "benchmark")))
    print(process_peak())


def start_rows() -> list[Row]:
    words = ["generate", "framepack", "--help"]
    row = alternate("", seconds_of_command([COMMAND, *words]), lambda: None, pairs=5)
    return [Row(f"reelwright {' '.join(words)} (goal in seconds)", "s", row.ours, 0.0, row.ours, 0.4)]


CHILDREN: dict[str, Callable[..., None]] = {"--peak": print_peak, "--length": print_peak_of_run}

if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in CHILDREN:
        CHILDREN[sys.argv[1]](*sys.argv[2:])
    else:
        main()
