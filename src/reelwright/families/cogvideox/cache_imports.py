"""Caches that other programs made: those of CogVideo's own trainer (specs: CogVideoX 6.5)."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from reelwright.checkpoint.safetensors_io import open_tensors
from reelwright.core.errors import FileError
from reelwright.families.cogvideox.cache_latents import CogVideoXLatentCache, locate_latents
from reelwright.families.cogvideox.cache_layout import LatentFileName, clip_metadata, stored, tensor_key
from reelwright.families.cogvideox.cache_texts import CogVideoXTextCache, locate_texts
from reelwright.families.cogvideox.config import CogVideoXCacheLatents, CogVideoXCacheText
from reelwright.protocols.caching import CacheFile, ForeignEntry

_FRAMES_HEIGHT_WIDTH = re.compile(r"(\d+)x(\d+)x(\d+)")
_NUMBERED = ("latent-*.pt", "condition-*.pt")
_KNOWN = (
    "Known are the folders cache/video_latent/MODEL/FRAMESxHEIGHTxWIDTH and cache/prompt_embeddings, or one"
    " above them."
)


def foreign_entries(
    folder: Path, config: CogVideoXCacheLatents | CogVideoXCacheText, captions: Mapping[str, str]
) -> Sequence[ForeignEntry]:
    """The latents or the prompts, as the configuration asks, in a folder, those below it, or where they are.

    Prompts are found by `captions`, which are by the names of their files here. That the same model made
    them is for the user to know: the files do not tell. Raises FileError if there are none, or two for one
    clip.
    """
    if isinstance(config, CogVideoXCacheText):
        entries = list(_prompts(folder, captions, locate_texts(config)))
    else:
        entries = list(_clips(folder, locate_latents(config)))
    if not entries:
        raise FileError(f"{folder}: {_reason(folder)}")
    return entries


def _reason(folder: Path) -> str:
    if any(next(folder.rglob(pattern), None) for pattern in _NUMBERED):
        return "holds numbered files, which do not tell their clips. Encode the data set instead."
    return f"holds no latents or prompts of it that another program left. {_KNOWN}"


def _clips(folder: Path, cache: CogVideoXLatentCache) -> Iterator[ForeignEntry]:
    found: dict[str, Path] = {}
    for path in sorted(folder.absolute().rglob("*.safetensors")):
        name = _clip_of(path)
        if name is None:
            continue
        if (other := found.setdefault(str(name), path)) != path:
            raise FileError(f"{other} and {path}: are of one clip. Name the folder of one model.")
        if cache.first_frame != "none":
            raise FileError(
                f"{path}: tells nothing of the first frame. Add --first-frame none if no image is to be read;"
                " otherwise encode the data set."
            )
        cache.check_clip(str(path), name.size, name.num_frames)
        yield ForeignEntry(path=path, name=str(name), convert=partial(_convert_clip, path, name, cache))


def _clip_of(path: Path) -> LatentFileName | None:
    """By the folders that a file lies in: video_latent, then the model, then the size of the clip."""
    grid = _FRAMES_HEIGHT_WIDTH.fullmatch(path.parent.name)
    if grid is None or path.parents[2].name != "video_latent":
        return None
    num_frames, height, width = map(int, grid.groups())
    return LatentFileName(stem=path.stem, start=0, num_frames=num_frames, size=(width, height))


def _convert_clip(path: Path, name: LatentFileName, cache: CogVideoXLatentCache) -> CacheFile:
    """Their latents [C, T, H, W] were drawn and scaled as ours are, so they are taken as they are."""
    latents = _read(path, "encoded_video", cache.latent_shape(name))
    latents = stored(latents, cache.parts.stored_dtype)
    return CacheFile(
        name=str(name),
        tensors={tensor_key("latents", latents): latents},
        metadata=clip_metadata(name),
    )


def _prompts(folder: Path, captions: Mapping[str, str], cache: CogVideoXTextCache) -> Iterator[ForeignEntry]:
    files = {path.stem: path for path in folder.absolute().rglob("*.safetensors") if _is_prompt(path)}
    for name, caption in captions.items() if files else ():
        path = files.get(hashlib.sha256(caption.encode()).hexdigest())
        if path is not None:
            convert = partial(_convert_prompt, path, name, caption, cache)
            yield ForeignEntry(path=path, name=name, convert=convert)


def _is_prompt(path: Path) -> bool:
    return path.parent.name == "prompt_embeddings"


def _convert_prompt(path: Path, name: str, caption: str, cache: CogVideoXTextCache) -> CacheFile:
    features = _read(path, "prompt_embedding", (cache.max_tokens, cache.parts.text.width))
    features = stored(features, cache.parts.stored_dtype)
    return CacheFile(
        name=name,
        tensors={tensor_key("prompt_embeds", features): features},
        metadata=cache.metadata(caption),
    )


def _read(path: Path, key: str, shape: tuple[int, ...]) -> Tensor:
    with open_tensors(path) as source:
        found = source.shapes().get(key)
        if found is None or tuple(found) != shape:
            held = "no such tensor" if found is None else f"one of {list(found)}"
            raise FileError(f"{path}: a tensor {key} of {list(shape)} is needed; the file holds {held}.")
        return source.read(key)
