"""What a file of data sets may say, whatever the family."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt

FrameExtraction = Literal["head", "chunk", "slide", "uniform", "full", "longest"]
Buckets = Literal["grid", "trained", "area"]
SOURCE_KEYS = ("image_directory", "image_jsonl_file", "video_directory", "video_jsonl_file", "folder")
"""Where the items of a data set come from: each names one of them."""


@dataclass(frozen=True, kw_only=True)
class GeneralKeys:
    """What `[general]` may say for all data sets, and each of them for itself."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    resolution: tuple[Annotated[int, Ge(16)], Annotated[int, Ge(16)]] | None = None
    """Width and height in pixels, or one number for a square; without it, the model's own size."""
    caption_extension: str = ".txt"
    """Of the caption beside each picture or clip, in directories and pairs; the dot may be left out. Captions
    are text in UTF-8; white space around them is dropped."""
    batch_size: Annotated[int, Ge(1)] = 1
    """Items that are trained on, and encoded, together."""
    num_repeats: Annotated[int, Ge(1)] = 1
    """How often each item comes in an epoch."""
    enable_bucket: bool = False
    """Keep each item near its own shape, in a size of the same area; otherwise all get `resolution`."""
    bucket_no_upscale: bool = False
    """Never enlarge: what is smaller keeps its own size, cut to a legal one. Needs enable_bucket = true."""
    bucket_kind: Buckets = "grid"
    """Which sizes there are: grid (steps of 16 pixels, as musubi-tuner), trained (the model's own list),
    area (the legal size of the area that is nearest in shape)."""
    target_fps: Annotated[float, Ge(0.0)] = 0.0
    """Frames per second that clips are brought to; 0 is the model's own rate."""
    trim_seconds: Annotated[float, Ge(0.0)] = 0.0
    """Leave out so much at both ends of every clip."""


@dataclass(frozen=True, kw_only=True)
class DatasetConfig(GeneralKeys):
    """One `[[datasets]]` entry, with what `[general]` and the command line say filled in."""

    cache_directory: str | None = None
    """Where its cache goes, a path or URL; without it, beside the media. JSONL files need it. A relative path
    starts at the working directory, or at the file of data sets where the data was found beside that."""
    image_directory: str | None = None
    """Pictures with captions beside them: png, jpg, jpeg, webp, bmp, avif, gif, in any case (jxl is found,
    but has to be converted). Here as in all paths: from the working directory, or, if it is not there,
    beside the file of data sets; or a URL."""
    image_jsonl_file: str | None = None
    """A line of JSON for each picture: image_path, caption, control_path or control_path_0, control_path_1
    and so on. Relative paths start at the working directory, or beside the JSONL file."""
    video_directory: str | None = None
    """Clips with captions beside them: mp4, webm, avi, mkv, mov, flv, wmv, m4v, mpg, mpeg, in any case."""
    video_jsonl_file: str | None = None
    """A line of JSON for each clip: video_path (a file, or a folder of pictures), caption, control_path."""
    folder: str | None = None
    """Data as other programs lay it out, told by its files: prompts.txt with videos.txt or images.txt (with
    both, the images are what the clips start from); metadata.csv, .jsonl or .json with columns file_name (or
    video, path) and caption (or text, prompt); tar shards (or one .tar) of members such as 0.mp4 and 0.txt or
    0.json; else pairs such as a.mp4 and a.txt, in inner folders too. In all, `score`, a number, may say how
    good an item is: a key or column, scores.txt, or a.score beside a.mp4; stages of training can choose."""
    control_directory: str | None = None
    """With directories: control pictures by the names of the pictures, `stem` or `stem_0`, `stem_1`, ...; or
    for each clip a clip, picture or folder of its name."""
    multiple_target: bool = False
    """Several target pictures to an item; no family here trains on them, so true is refused."""
    no_resize_control: bool = False
    """Keep the size of control pictures; refused where the family stacks them with the target."""
    control_resolution: tuple[Annotated[int, Ge(16)], Annotated[int, Ge(16)]] | None = None
    """Another size for control pictures; refused where the family stacks them with the target."""
    target_frames: tuple[Annotated[int, Ge(1)], ...] = ()
    """Lengths of the clips that are cut, in frames, as a list or one number; without it the whole clip
    (frame_extraction full)."""
    frame_extraction: FrameExtraction | None = None
    """How clips are cut: head, chunk, slide, uniform, full, or longest (the longest of target_frames that
    fits). All but full need target_frames. Without it head, or full where there are no target_frames."""
    frame_stride: Annotated[int, Ge(1)] = 1
    """Frames from one start to the next, for slide."""
    frame_sample: Annotated[int, Ge(1)] = 1
    """How many clips, for uniform."""
    max_frames: Annotated[int, Ge(1)] = 129
    """The longest clip, for full."""
    source_fps: Annotated[float, Gt(0.0)] | None = None
    """The rate that the clips were made at, where their files tell a wrong one; 30 or 30.0."""
    family_keys: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the entry says for single families, by family: an instance of the keys that each knows."""

    @property
    def origin(self) -> str:
        """The folder or file that its items come from."""
        return next((named for key in SOURCE_KEYS if (named := getattr(self, key)) is not None), "")


@dataclass(frozen=True, kw_only=True)
class DatasetFile:
    """The data sets of one file, each complete in itself."""

    path: Path
    datasets: tuple[DatasetConfig, ...]
