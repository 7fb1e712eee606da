"""A training step of a LoRA here and in a plain loop of diffusers and PEFT: time and peak memory.

    python benchmarks/train_step.py            # all rows, prints the table, writes results/
    python benchmarks/train_step.py --write-docs

Both sides have the same random weights, adapters of rank 16 in the attention of every block, AdamW and the
same checkpointing. On a processor the networks have the released topology at reduced width; on a GPU the peak
memory of training FramePack in its real size, at 640 x 640 with weights in fp8, is measured too.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from measure import Row, alternate, in_fresh_process, peak_growth, table, write_results, write_table
from peft import LoraConfig
from torch import Tensor, nn

from reelwright import families
from reelwright.adapters.learning.adapter_trainables import adapter_trainables
from reelwright.checkpoint.key_map import KeyMap
from reelwright.execution.prepare import prepare
from reelwright.families.cogvideox import lora_layouts as cogvideox_layouts
from reelwright.families.cogvideox.conditions import Conditions as CogVideoXConditions
from reelwright.families.cogvideox.conditions import rotary_positions
from reelwright.families.cogvideox.config import TransformerConfig as CogVideoXConfig
from reelwright.families.cogvideox.key_maps import DIFFUSERS_TRANSFORMER
from reelwright.families.cogvideox.transformer import CogVideoXTransformer
from reelwright.families.framepack import lora_layouts as framepack_layouts
from reelwright.families.framepack.conditions import CleanLatents
from reelwright.families.framepack.conditions import Conditions as FramePackConditions
from reelwright.families.framepack.config import TransformerConfig as FramePackConfig
from reelwright.families.framepack.key_maps import RELEASED_TRANSFORMER
from reelwright.families.framepack.sections import Timeline, section_layouts
from reelwright.families.framepack.transformer import FramePackTransformer
from reelwright.protocols.adapter_targets import AdapterTargets
from reelwright.protocols.train_configs import AdapterConfig, OptimizerConfig, TrainExecutionConfig
from reelwright.workflows.training.optimizers import make_optimizer

ROOT = Path(__file__).parent
RESULTS = ROOT / "results"
DOCS = ROOT.parent / "docs" / "explanation" / "performance.md"
ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
DTYPE = torch.bfloat16 if ON_GPU else torch.float32

COGVIDEOX = CogVideoXConfig(
    num_layers=8,
    num_attention_heads=8,
    sample_height=16,
    sample_width=24,
    use_rotary_positional_embeddings=True,
)
FRAMEPACK = FramePackConfig(num_attention_heads=4, num_layers=3, num_single_layers=5)
LATENTS_THW = (5, 16, 24)
RANK, NUM_TEXT_TOKENS = 16, 200
PAIRS = 7
TIME_GOAL, MEMORY_GOAL = 0.9, 0.8


@dataclass(frozen=True)
class Side:
    """A network and how it is asked about the one item that it learns from."""

    network: nn.Module
    ask: Callable[[], Tensor]


@dataclass(frozen=True)
class Subject:
    """A family: both networks, and how adapters are put into ours."""

    ours: Callable[[], Side]
    theirs: Callable[[], Side]
    key_map: KeyMap
    targets: AdapterTargets


def main() -> None:
    # For the processes that measure memory. Tensors' memory goes back to the system at once: what is found is
    # what they take, the same in each run, and not what the C library's allocator keeps.
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(2**16)
    rows = [row for family in SUBJECTS for row in rows_of(family)]
    if ON_GPU:
        peak = in_fresh_process(__file__, "--peak-of-real-size") / 1024
        name = "framepack in real size, fp8, LoRA rank 32 at 640 x 640, checkpoints: memory of all"
        rows.append(Row(name, "GiB", peak, 0.0, peak, 17.0))
    print(table(rows))
    write_results(RESULTS / f"train_step_{DEVICE.type}.json", rows)
    if "--write-docs" in sys.argv:
        write_table(DOCS, "training", rows)


def rows_of(family: str) -> list[Row]:
    rows: list[Row] = []
    for activations in ("kept", "made again"):
        name = f"{family}, activations {activations}"
        steps = steps_of_both(family, activations)
        rows.append(alternate(f"{name}: time of a step", *steps, pairs=PAIRS, goal=TIME_GOAL))
        peaks = [
            in_fresh_process(__file__, "--peak", side, family, activations) for side in ("ours", "theirs")
        ]
        rows.append(Row(f"{name}: peak memory", "MiB", *peaks, peaks[0] / peaks[1], MEMORY_GOAL))
    return rows


def steps_of_both(family: str, activations: str) -> tuple[Callable[[], float], Callable[[], float]]:
    """Steps that start from the same weights, and learn as much."""
    subject = SUBJECTS[family]
    ours, theirs = subject.ours(), subject.theirs()
    ours.network.load_state_dict(subject.key_map.to_ours(theirs.network.state_dict()))
    steps = our_step(ours, subject, activations), their_step(theirs, activations)
    counts = [num_learning(side.network) for side in (ours, theirs)]
    losses = [step() for step in steps]
    if counts[0] != counts[1] or abs(losses[0] / losses[1] - 1) > 1e-3:
        raise RuntimeError(f"{family}: the sides differ; {counts} parameters, losses {losses}")
    return steps


def print_peak(side: str, family: str, activations: str) -> None:
    """Above the loaded model, over the steps that make all there is."""
    subject = SUBJECTS[family]
    if side == "ours":
        step = our_step(subject.ours(), subject, activations)
    else:
        step = their_step(subject.theirs(), activations)
    print(peak_growth(lambda: [step() for _ in range(3)]))


def our_step(side: Side, subject: Subject, activations: str) -> Callable[[], float]:
    execution = TrainExecutionConfig(activation_checkpoint=activations == "made again")
    side.network.requires_grad_(False).train()
    prepare(side.network, execution, lambda _: True, dtype=DTYPE, device=DEVICE)
    config = AdapterConfig(rank=RANK, targets="attention")
    learning = adapter_trainables(
        side.network, subject.targets, config, "lora", layout="native", dtype=torch.float32, seed=0
    )
    return loop(side, make_optimizer(OptimizerConfig(), learning.groups()))


def their_step(side: Side, activations: str) -> Callable[[], float]:
    network: Any = side.network.requires_grad_(False).train()
    if activations == "made again":
        network.enable_gradient_checkpointing()
    names = ["to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"]
    attention = "|".join(name.replace(".", r"\.") for name in names)
    modules = rf"(single_)?transformer_blocks\.\d+\.(attn1?\.({attention})|proj_out)"
    network.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=modules))
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return loop(side, torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-4))


def loop(side: Side, optimizer: torch.optim.Optimizer) -> Callable[[], float]:
    """Take a step at each call; the loss."""
    learning = [parameter for parameter in side.network.parameters() if parameter.requires_grad]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        target = torch.randn(side.ask().shape, generator=generator).to(DEVICE)

    def step() -> float:
        with torch.autocast("cuda", torch.bfloat16, enabled=ON_GPU):
            answer = side.ask()
        loss = (answer.float() - target).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def num_learning(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


class Draw:
    """The same random inputs on both sides."""

    def __init__(self) -> None:
        self._generator = torch.Generator().manual_seed(0)

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator).to(DEVICE, DTYPE)


def our_cogvideox() -> Side:
    draw = Draw()
    latents, text = draw(1, 16, *LATENTS_THW), draw(1, 226, 4096)
    conditions = CogVideoXConditions(text_BLD=text, rotary_LK=_rotary().to(DEVICE))
    with torch.device(DEVICE):
        network = CogVideoXTransformer(COGVIDEOX).to(DTYPE)
    timestep = torch.tensor([500], device=DEVICE)
    return Side(network, lambda: network(latents, timestep, conditions))


def their_cogvideox() -> Side:
    draw = Draw()
    latents, text = draw(1, 16, *LATENTS_THW), draw(1, 226, 4096)
    names = ("num_layers", "num_attention_heads", "sample_height", "sample_width")
    sizes = {name: getattr(COGVIDEOX, name) for name in names}
    with torch.device(DEVICE):
        network = diffusers.CogVideoXTransformer3DModel(**sizes, use_rotary_positional_embeddings=True)
    network.to(DTYPE)
    rotary = _rotary()
    tables = [part.repeat_interleave(2, dim=1).to(DEVICE) for part in (rotary.real, rotary.imag)]
    timestep, frames = torch.tensor([500], device=DEVICE), latents.transpose(1, 2)

    def ask() -> Tensor:
        answer = network(frames, text, timestep, image_rotary_emb=tables, return_dict=False)[0]
        return answer.transpose(1, 2)

    return Side(network, ask)


def _rotary() -> Tensor:
    frames, height, width = LATENTS_THW
    return rotary_positions(COGVIDEOX, (frames, height // 2, width // 2))


def section(latents_THW: tuple[int, int, int]) -> tuple[Tensor, FramePackConditions]:
    """Noisy latents of a section in the middle of a video, and what it sees."""
    draw = Draw()
    frames, height, width = latents_THW
    layout = section_layouts(Timeline(num_sections=4, window=frames), "backward")[1]

    def clean(name: str) -> CleanLatents:
        indices = getattr(layout, name).indices
        latents = draw(1, 16, len(indices), height, width)
        return CleanLatents(latents_BCTHW=latents, indices_BT=torch.tensor([indices]))

    conditions = FramePackConditions(
        text_BLD=draw(1, 512, 4096),
        text_lengths=(NUM_TEXT_TOKENS,),
        pooled_BD=draw(1, 768),
        image_BLD=draw(1, 729, 1152),
        guidance_B=torch.tensor([10_000.0], device=DEVICE),
        indices_BT=torch.tensor([layout.indices]),
        clean_1x=clean("clean_1x"),
        clean_2x=clean("clean_2x"),
        clean_4x=clean("clean_4x"),
    )
    return draw(1, 16, *latents_THW), conditions


def our_framepack() -> Side:
    with torch.device(DEVICE):
        network = FramePackTransformer(FRAMEPACK).to(DTYPE)
    return _asked(network, LATENTS_THW)


def _asked(network: nn.Module, latents_THW: tuple[int, int, int]) -> Side:
    latents, conditions = section(latents_THW)
    timestep = torch.tensor([500.0], device=DEVICE)
    return Side(network, lambda: network(latents, timestep, conditions))


def their_framepack() -> Side:
    latents, conditions = section(LATENTS_THW)
    with torch.device(DEVICE):
        network = diffusers.HunyuanVideoFramepackTransformer3DModel(
            **asdict(FRAMEPACK), has_image_proj=True, has_clean_x_embedder=True
        )
    network.to(DTYPE)
    clean = {
        "clean": conditions.clean_1x,
        "history_2x": conditions.clean_2x,
        "history_4x": conditions.clean_4x,
    }
    history = {f"latents_{name}": group.latents_BCTHW for name, group in clean.items() if group}
    places = {f"indices_latents_{name}": group.indices_BT[0] for name, group in clean.items() if group}
    timestep = torch.tensor([500.0], device=DEVICE)

    def ask() -> Tensor:
        return network(
            hidden_states=latents,
            timestep=timestep,
            encoder_hidden_states=conditions.text_BLD,
            encoder_attention_mask=torch.arange(512, device=DEVICE)[None] < NUM_TEXT_TOKENS,
            pooled_projections=conditions.pooled_BD,
            image_embeds=conditions.image_BLD,
            guidance=conditions.guidance_B,
            indices_latents=conditions.indices_BT[0],
            return_dict=False,
            **history,
            **places,
        )[0]

    return Side(network, ask)


SUBJECTS = {
    "cogvideox": Subject(
        our_cogvideox,
        their_cogvideox,
        DIFFUSERS_TRANSFORMER,
        cogvideox_layouts.adapter_targets(COGVIDEOX, "CogVideoX"),
    ),
    "framepack": Subject(
        our_framepack,
        their_framepack,
        RELEASED_TRANSFORMER,
        framepack_layouts.adapter_targets(FRAMEPACK, "FramePack"),
    ),
}


def print_peak_of_real_size() -> None:
    """MiB of the GPU that training FramePack in its real size takes, weights and all; they are random."""
    with torch.device("meta"):
        network = FramePackTransformer(FramePackConfig()).to(DTYPE).requires_grad_(False)
    network.to_empty(device="cpu")
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.02)
    execution = TrainExecutionConfig(fp8=True, activation_checkpoint=True)
    is_wanted = families.load("framepack").training.quantized
    prepare(network, execution, is_wanted, dtype=DTYPE, device=DEVICE)
    targets = framepack_layouts.adapter_targets(FramePackConfig(), "FramePack")
    learning = adapter_trainables(
        network, targets, AdapterConfig(rank=32), "lora", layout="native", dtype=torch.float32, seed=0
    )
    step = loop(_asked(network.train(), (9, 80, 80)), make_optimizer(OptimizerConfig(), learning.groups()))
    for _ in range(2):
        step()
    print(torch.cuda.max_memory_allocated() / 2**20)


CHILDREN: dict[str, Callable[..., None]] = {
    "--peak": print_peak,
    "--peak-of-real-size": print_peak_of_real_size,
}

if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in CHILDREN:
        CHILDREN[sys.argv[1]](*sys.argv[2:])
    else:
        main()
