"""What the keys of one data set must be together, beyond what each may be alone."""

from collections.abc import Collection, Iterator

from reelwright.protocols.datasets import SOURCE_KEYS, DatasetConfig

_OF_PICTURES = ("multiple_target", "no_resize_control", "control_resolution")
_OF_CLIPS = (
    "target_frames",
    "frame_extraction",
    "frame_stride",
    "frame_sample",
    "max_frames",
    "source_fps",
)


def problems_of(dataset: DatasetConfig, said: Collection[str]) -> Iterator[str]:
    """What is wrong with a data set, each as "key: what. do this"; `said` are the keys of its own entry."""
    yield from _problems_of_source(dataset, said)
    yield from _problems_of_captions(dataset)
    if dataset.bucket_no_upscale and not dataset.enable_bucket:
        yield "bucket_no_upscale: has no meaning without buckets. Add enable_bucket = true, or remove it."
    if dataset.multiple_target:
        yield "multiple_target: no model here trains on several target pictures. Remove it, or write false."
    if dataset.frame_extraction not in (None, "full") and not dataset.target_frames:
        yield (
            f"target_frames: is missing, and frame_extraction {dataset.frame_extraction} cuts clips of that"
            ' length. Give it, as target_frames = [37, 73], or write frame_extraction = "full".'
        )


def _problems_of_source(dataset: DatasetConfig, said: Collection[str]) -> Iterator[str]:
    sources = [key for key in SOURCE_KEYS if getattr(dataset, key) is not None]
    if not sources:
        yield f"no data is named. Give one of {', '.join(SOURCE_KEYS)}."
        return
    if len(sources) > 1:
        yield f"{' and '.join(sources)}: are two data sets. Give each its own [[datasets]]."
        return
    (source,) = sources
    if not getattr(dataset, source):
        yield f"{source}: is empty. Name a folder or file."
    for key, kind, other in (
        *((key, "image", "pictures") for key in _OF_PICTURES),
        *((key, "video", "clips") for key in _OF_CLIPS),
    ):
        if key in said and source != "folder" and not source.startswith(kind):
            yield f"{key}: is for {other}, which {source} does not hold. Remove it."
    if source.endswith("_jsonl_file"):
        yield from _problems_of_jsonl(dataset, source)


def _problems_of_jsonl(dataset: DatasetConfig, source: str) -> Iterator[str]:
    if dataset.cache_directory is None:
        yield (
            f"cache_directory: is missing. The lines of a {source} may name files of many folders:"
            " say where the cache goes."
        )
    if dataset.control_directory is not None:
        yield "control_directory: goes with directories. Give control_path in the lines of the JSONL file."


def _problems_of_captions(dataset: DatasetConfig) -> Iterator[str]:
    extension = dataset.caption_extension
    if len(extension) < 2 or any(each in extension for each in "/\\\0"):
        yield f"caption_extension: {extension!r} is no file extension. Write it as .txt."
