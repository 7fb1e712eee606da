"""Captions that are missing, empty, or longer than the text encoder reads."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from reelwright.data.lint.findings import Finding
from reelwright.protocols.clips import Source


@dataclass(frozen=True, kw_only=True)
class TokenLimit:
    """The family's own tokenizer, and how much of a caption counts."""

    max_tokens: int
    count_tokens: Callable[[str], int]


def find_caption_faults(source: Source, limit: TokenLimit | None) -> Iterator[Finding]:
    """`limit` is None where the tokenizer is not at hand."""
    if source.caption is None:
        message = f"has no caption. Write one to {source.caption_origin}."
        yield Finding(kind="caption", severity="error", message=message)
    elif not source.caption.strip():
        message = f"has an empty caption. Write what is seen to {source.caption_origin}."
        yield Finding(kind="caption", severity="warning", message=message)
    elif limit is not None and (count := limit.count_tokens(source.caption)) > limit.max_tokens:
        message = (
            f"its caption has {count} tokens, of which the text encoder reads {limit.max_tokens}."
            f" Shorten it in {source.caption_origin}."
        )
        yield Finding(kind="caption", severity="warning", message=message)
