"""Captions in text files of their own, named as the media they belong to."""

from collections.abc import Collection

from reelwright.core.locations import read_text
from reelwright.data.sources.media_names import Kind, stem_of
from reelwright.data.sources.scores import named_alike, score_beside
from reelwright.protocols.clips import Source


def source_beside(
    media: str, kind: Kind, files: Collection[str], extension: str, controls: tuple[str, ...] = ()
) -> Source:
    """A picture or clip with the caption beside it, if that is among `files`. Raises FileError."""
    caption = named_alike(media, extension)
    return Source(
        media=media,
        kind=kind,
        stem=stem_of(media),
        caption=read_text(caption).strip() if caption in files else None,
        caption_origin=caption,
        controls=controls,
        score=score_beside(media, files),
    )
