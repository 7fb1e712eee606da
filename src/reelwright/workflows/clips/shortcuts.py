"""What was left out or rounded while a clip was made: told with the clip, and at the end of the run."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from reelwright.checkpoint.safetensors_io import open_tensors
from reelwright.core.events import Event, Notice
from reelwright.core.provenance import METADATA_KEY, Provenance
from reelwright.protocols.configs import GenerateConfig


def shortcuts_of_making(config: GenerateConfig) -> Iterator[str]:
    """What a configuration says of making latents, beside what the policies of the denoiser tell."""
    execution = config.execution
    if execution.text_weights != "full":
        yield f"weights of the text encoder held as {execution.text_weights}"
    if execution.tiling and any((config.image, config.end_image, config.video)):
        yield f"pictures encoded in {_tiles(execution.tile_size)}"


def shortcuts_of_seeing(config: GenerateConfig) -> Iterator[str]:
    """What a configuration says of decoding latents."""
    if config.execution.tiling and config.format != "latent":
        yield f"frames decoded in {_tiles(config.execution.tile_size)}"


def merged(*told: Sequence[str]) -> tuple[str, ...]:
    """All of them, each once, in order."""
    return tuple(dict.fromkeys(text for texts in told for text in texts))


def shortcuts_of_latents(latents: Path, beside: Path) -> tuple[str, ...]:
    """Those that saved latents tell of, or the record beside them."""
    with open_tensors(latents) as source:
        record = source.metadata.get(METADATA_KEY, "")
    if not record and beside.is_file():
        record = beside.read_text(encoding="utf-8")
    return Provenance.from_json(record, str(latents)).shortcuts if record else ()


def tell_shortcuts(taken: Sequence[str], then: Sequence[str] | None) -> Iterator[Event]:
    """Say at the end of a run what was not exact; `then`: in a clip that was made again, if one was."""
    if taken:
        yield Notice(f"Not exact, as was asked for: {'; '.join(taken)}.")
    if then is not None and set(then) != set(taken):
        yield Notice(f"Other shortcuts than then, so bytes may differ; then: {'; '.join(then) or 'none'}.")


def _tiles(size: int) -> str:
    return f"overlapping tiles of {size} pixels" if size else "overlapping tiles of the released size"
