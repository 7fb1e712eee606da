"""CogVideoX here and in diffusers: time, memory, loading, start-up, on the same random weights.

    python benchmarks/cogvideox_vs_diffusers.py            # all rows, prints the table, writes results/
    python benchmarks/cogvideox_vs_diffusers.py --write-docs

On a processor the networks have the released topology at reduced width; on a GPU the transformer is the real
5B in bfloat16, eager and compiled.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import diffusers
import torch
from measure import (
    Row,
    alternate,
    in_fresh_process,
    peak_growth,
    seconds_of_command,
    table,
    write_results,
    write_table,
)

from reelwright.checkpoint.safetensors_io import open_tensors
from reelwright.core.config import from_mapping
from reelwright.families.cogvideox.autoencoder import CogVideoXAutoencoder
from reelwright.families.cogvideox.checkpoints import load_transformer, locate
from reelwright.families.cogvideox.conditions import Conditions, rotary_positions
from reelwright.families.cogvideox.config import (
    TRANSFORMERS,
    AutoencoderConfig,
    CogVideoXGenerate,
    TransformerConfig,
)
from reelwright.families.cogvideox.generate import CogVideoXSession
from reelwright.families.cogvideox.key_maps import DIFFUSERS_AUTOENCODER, DIFFUSERS_TRANSFORMER
from reelwright.families.cogvideox.requests import resolve
from reelwright.families.cogvideox.tiny import write_model
from reelwright.families.cogvideox.transformer import CogVideoXTransformer
from reelwright.protocols.family import Segment

ROOT = Path(__file__).parent
RESULTS = ROOT / "results"
DOCS = ROOT.parent / "docs" / "explanation" / "performance.md"
ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
DTYPE = torch.bfloat16 if ON_GPU else torch.float32

REDUCED_TRANSFORMER = TransformerConfig(
    num_layers=8,
    num_attention_heads=8,
    sample_height=30,
    sample_width=46,
    use_rotary_positional_embeddings=True,
)
TRANSFORMER = TRANSFORMERS["5b"] if ON_GPU else REDUCED_TRANSFORMER
REDUCED_AUTOENCODER = AutoencoderConfig(block_out_channels=(64, 128, 128, 256))
AUTOENCODER = AutoencoderConfig() if ON_GPU else REDUCED_AUTOENCODER
PIXELS = (1, 3, 49, 480, 720) if ON_GPU else (1, 3, 17, 128, 192)
LOADED = TransformerConfig(
    num_layers=12, num_attention_heads=12, text_embed_dim=1024, use_rotary_positional_embeddings=True
)
PYTHON = sys.executable
COMMAND = str(Path(sys.executable).parent / "reelwright")


@torch.no_grad()
def main() -> None:
    rows = [*transformer_rows(), *autoencoder_rows(), generation_row()]
    if not ON_GPU:
        rows += [*memory_rows(), *loading_rows(), *start_rows()]
    print(table(rows))
    write_results(RESULTS / f"cogvideox_{DEVICE.type}.json", rows)
    if "--write-docs" in sys.argv:
        write_table(DOCS, "cogvideox", rows)


def transformers_of_both() -> tuple[CogVideoXTransformer, diffusers.CogVideoXTransformer3DModel]:
    torch.manual_seed(0)
    settings = {
        key: getattr(TRANSFORMER, key) for key in ("num_layers", "num_attention_heads", "sample_height")
    }
    with torch.device(DEVICE):
        theirs = diffusers.CogVideoXTransformer3DModel(
            **settings, sample_width=TRANSFORMER.sample_width, use_rotary_positional_embeddings=True
        ).to(DTYPE)
        ours = CogVideoXTransformer(TRANSFORMER).to(DTYPE)
    ours.load_state_dict(DIFFUSERS_TRANSFORMER.to_ours(theirs.state_dict()))
    return ours.eval(), theirs.eval()


def transformer_rows() -> list[Row]:
    ours, theirs = transformers_of_both()
    height, width = TRANSFORMER.sample_height, TRANSFORMER.sample_width
    latents = torch.randn(1, 16, 13, height, width, device=DEVICE, dtype=DTYPE)
    text = torch.randn(1, 226, 4096, device=DEVICE, dtype=DTYPE)
    timestep = torch.tensor([500], device=DEVICE)
    rotary = rotary_positions(TRANSFORMER, (13, height // 2, width // 2)).to(DEVICE)
    conditions = Conditions(text_BLD=text, rotary_LK=rotary)
    tables = tuple(part.repeat_interleave(2, dim=1).contiguous() for part in (rotary.real, rotary.imag))

    def run_theirs() -> object:
        return theirs(latents.transpose(1, 2), text, timestep, image_rotary_emb=tables, return_dict=False)

    size = "5B, 13 x 60 x 90 latents" if ON_GPU else "width 512, 8 layers, 13 x 30 x 46 latents"
    name = f"transformer forward ({size})"
    pairs = 10 if ON_GPU else 7
    rows = [alternate(name, lambda: ours(latents, timestep, conditions), run_theirs, pairs=pairs, goal=0.95)]
    if ON_GPU:
        ours.compile()
        theirs.compile()
        run_ours = lambda: ours(latents, timestep, conditions)  # noqa: E731
        rows.append(alternate(f"{name}, compiled", run_ours, run_theirs, pairs=pairs))
    return rows


def autoencoders_of_both() -> tuple[CogVideoXAutoencoder, diffusers.AutoencoderKLCogVideoX]:
    torch.manual_seed(0)
    with torch.device(DEVICE):
        theirs = diffusers.AutoencoderKLCogVideoX(
            block_out_channels=AUTOENCODER.block_out_channels,
            down_block_types=("CogVideoXDownBlock3D",) * 4,
            up_block_types=("CogVideoXUpBlock3D",) * 4,
        ).to(DTYPE)
        ours = CogVideoXAutoencoder(AUTOENCODER).to(DTYPE)
    ours.load_state_dict(DIFFUSERS_AUTOENCODER.to_ours(theirs.state_dict()))
    return ours.eval(), theirs.eval()


def clip_and_latents() -> tuple[torch.Tensor, torch.Tensor]:
    _, _, frames, height, width = PIXELS
    clip = torch.rand(PIXELS, device=DEVICE, dtype=DTYPE) * 2 - 1
    return clip, torch.randn(
        1, 16, (frames - 1) // 4 + 1, height // 8, width // 8, device=DEVICE, dtype=DTYPE
    )


def autoencoder_rows() -> list[Row]:
    ours, theirs = autoencoders_of_both()
    clip, latents = clip_and_latents()
    size = " x ".join(map(str, PIXELS[2:]))
    pairs = 3 if ON_GPU else 5
    return [
        alternate(
            f"VAE encode ({size})", lambda: ours.encode(clip), lambda: theirs.encode(clip), pairs=pairs
        ),
        alternate(
            f"VAE decode ({size})",
            lambda: ours.decode(latents),
            lambda: theirs.decode(latents),
            pairs=pairs,
            goal=0.7,
        ),
    ]


def memory_rows() -> list[Row]:
    """Each in a fresh process, above the loaded model."""
    size = " x ".join(map(str, PIXELS[2:]))
    rows: list[Row] = []
    for work, goal in (("encode", None), ("decode", 0.5)):
        ours, theirs = (in_fresh_process(__file__, "--peak", side, work) for side in ("ours", "theirs"))
        rows.append(Row(f"VAE {work}, peak memory ({size})", "MiB", ours, theirs, ours / theirs, goal))
    return rows


@torch.no_grad()
def print_autoencoder_peak(side: str, work: str) -> None:
    model = autoencoders_of_both()[side == "theirs"]
    clip, latents = clip_and_latents()
    argument = clip if work == "encode" else latents
    print(peak_growth(lambda: getattr(model, work)(argument)))


def generation_row() -> Row:
    """The embedded tiny model, 20 steps of DPM with guidance: prompt to pixels, networks loaded."""
    folder = ROOT.parent / "src" / "reelwright" / "assets" / "cogvideox-tiny"
    pipeline = diffusers.CogVideoXPipeline.from_pretrained(folder, torch_dtype=torch.float32).to(DEVICE)
    pipeline.set_progress_bar_config(disable=True)
    values = {"prompt": "a red ball rolls over the floor", "steps": 20, "seed": 1, "preview_every": 0}
    config = from_mapping(CogVideoXGenerate, {**values, "execution": {"dtype": "float32"}}, "benchmark")
    model = locate(config)
    request = resolve(config, model)

    def run_ours() -> object:
        made = CogVideoXSession(model, request.config.execution).generate([request], lambda key: None)
        return [list(event.decode()) for event in made if isinstance(event, Segment)]

    def run_theirs() -> object:
        generator = torch.Generator("cpu").manual_seed(1)
        return pipeline(
            values["prompt"],
            height=128,
            width=128,
            num_frames=17,
            num_inference_steps=20,
            max_sequence_length=64,
            generator=generator,
        )

    return alternate("whole tiny generation, 20 steps", run_ours, run_theirs, pairs=5)


def loading_rows() -> list[Row]:
    """A bfloat16 folder of 0.5 GB to float32 networks; the peak is that of the process."""
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), transformer=LOADED, dtype=torch.bfloat16)
        peaks = [in_fresh_process(__file__, "--load", side, folder, "peak") for side in ("ours", "theirs")]
        times = [in_fresh_process(__file__, "--load", side, folder, "time") for side in ("ours", "theirs")]
        with open_tensors(Path(folder) / "transformer") as source:
            weights = sum(4 * torch.Size(shape).numel() for shape in source.shapes().values()) / 2**20
    return [
        Row("load transformer, time", "s", times[0], times[1], times[0] / times[1]),
        Row(
            f"load transformer, peak memory ({weights:.0f} MiB loaded)",
            "MiB",
            peaks[0],
            peaks[1],
            peaks[0] / peaks[1],
        ),
        Row(
            "load transformer, peak over weights",
            "x",
            peaks[0] / weights,
            peaks[1] / weights,
            peaks[0] / weights,
            1.15,
        ),
    ]


def print_loading(side: str, folder: str, what: str) -> None:
    config = from_mapping(CogVideoXGenerate, {"model": folder}, "benchmark")
    model = locate(config)

    def load() -> object:
        if side == "ours":
            return load_transformer(model, torch.device("cpu"), torch.float32)
        path = Path(folder) / "transformer"
        return diffusers.CogVideoXTransformer3DModel.from_pretrained(path, torch_dtype=torch.float32)

    kept: list[object] = []
    if what == "peak":
        print(peak_growth(lambda: kept.append(load())))
    else:
        print(alternate("", load, load, pairs=2).ours)


def start_rows() -> list[Row]:
    import_theirs = seconds_of_command([PYTHON, "-c", "from diffusers import CogVideoXPipeline"])
    rows = [
        alternate(
            "import of what generates",
            seconds_of_command([PYTHON, "-c", "import reelwright.families.cogvideox.family"]),
            import_theirs,
            pairs=5,
        )
    ]
    for words in (["--help"], ["generate", "cogvideox", "--help"]):
        row = alternate("", seconds_of_command([COMMAND, *words]), lambda: None, pairs=5)
        rows.append(Row(f"reelwright {' '.join(words)} (goal in seconds)", "s", row.ours, 0.0, row.ours, 0.4))
    return rows


CHILDREN: dict[str, Callable[..., None]] = {"--peak": print_autoencoder_peak, "--load": print_loading}

if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in CHILDREN:
        CHILDREN[sys.argv[1]](*sys.argv[2:])
    else:
        main()
