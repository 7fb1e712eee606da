"""LoRAs are used in the way they were trained, unless something else is asked for."""

from collections.abc import Iterable

from reelwright.adapters.plan import AdapterPlan
from reelwright.families.framepack.config import FramePackGenerate
from reelwright.families.framepack.lora_facts import facts_of
from reelwright.families.framepack.request_checks import ONLY_VIDEO
from reelwright.protocols.review import Review

_IGNORE = "To do otherwise, add --lora-settings ignore."


def apply_lora_facts(review: Review[FramePackGenerate], adapters: AdapterPlan) -> None:
    """Take the window, and the options of single frames, that LoRAs were trained with.

    What the configuration says itself stays, and a video is made where one is asked for. Of several LoRAs
    that disagree the first one counts; all is said.
    """
    if review.config.lora_settings == "ignore":
        return
    known = facts_of(adapters)
    _take(review, "latent_window_size", [(facts.file, facts.window) for facts in known if facts.window])
    if not any(getattr(review.config, name) for name in (*ONLY_VIDEO, "video_sections")):
        _take(review, "one_frame", [(facts.file, facts.one_frame) for facts in known if facts.one_frame])


def _take(review: Review[FramePackGenerate], name: str, told: Iterable[tuple[str, object]]) -> None:
    """Set a field that was left as it is by default; whatever it is then, say which files were not for it."""
    for file, value in told:
        current = getattr(review.config, name)
        if current == value:
            continue
        if current == getattr(FramePackGenerate(), name):
            review.set(**{name: value})
            review.notices.append(f"{name}: {value}, with which {file} was trained. {_IGNORE}")
        else:
            review.notices.append(
                f"{name}: {file} was trained with {value}; with {current} expect less of it."
            )
