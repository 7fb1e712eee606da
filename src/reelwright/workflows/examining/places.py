"""Disks and codecs: where things are kept, and how clips are written."""

import shutil
from pathlib import Path

import av

from reelwright.core.errors import FileError
from reelwright.core.paths import cache_folder, check_writable
from reelwright.workflows.clips.recording import ROOM_NEEDED
from reelwright.workflows.examining.findings import Examined, in_gib, problem

_ENCODER = "libx264"
_DECODERS = ("h264", "hevc", "vp9", "av1", "mpeg4", "png")


def examine_disks(out: Path) -> Examined:
    """Free room for what is made, for caches and for downloaded models."""
    from huggingface_hub import constants  # noqa: PLC0415 - slow, and for one path

    ways_out = {
        "outputs": (out.absolute(), "choose a folder elsewhere with --out"),
        "cache": (cache_folder(), "export REELWRIGHT_CACHE=/a/folder/with/room"),
        "downloads": (Path(constants.HF_HUB_CACHE), "export HF_HOME=/a/folder/with/room"),
    }
    facts: dict[str, str] = {}
    problems = []
    for name, (folder, way_out) in ways_out.items():
        facts[f"disk for {name}"] = f"{in_gib(shutil.disk_usage(_existing(folder)).free)} free in {folder}"
        try:
            check_writable(_existing(folder), ROOM_NEEDED)
        except FileError as error:
            problems.append(problem(str(folder), "disk", str(error).split(". ")[0], way_out))
    return Examined(facts=facts, problems=tuple(problems))


def examine_codecs() -> Examined:
    """What PyAV, which brings ffmpeg's libraries along, writes and reads."""
    known = av.codecs_available
    there = [name for name in _DECODERS if name in known]
    command = shutil.which("ffmpeg")
    facts = {
        "video written with": _ENCODER if _can_encode() else "no codec",
        "video read": ", ".join(there),
        "ffmpeg command": command or "not found; nothing here needs it",
    }
    if _can_encode():
        return Examined(facts=facts)
    what = f"PyAV {av.__version__} was built without {_ENCODER}, so no mp4 can be written"
    fix = "pip install --force-reinstall --only-binary av av, or add --format png to commands"
    return Examined(facts=facts, problems=(problem("av", "codec", what, fix),))


def _can_encode() -> bool:
    try:
        av.Codec(_ENCODER, "w")
    except ValueError:  # what PyAV raises for a codec that it does not know
        return False
    return True


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    return next(place for place in (folder, *folder.parents) if place.exists())
