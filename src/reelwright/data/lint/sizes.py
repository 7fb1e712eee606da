"""Pictures that have to be enlarged, or that lose much when they are cut to shape."""

from collections.abc import Iterator

from reelwright.data.buckets import choose_size
from reelwright.data.lint.findings import Finding, Subject
from reelwright.media.geometry import cover_crop_box

_ENLARGED = 1.05
"""Times; less is hardly seen."""
_FAR_ENLARGED = 2.0
_LOST = 0.25
"""Share of the picture."""


def find_size_faults(subject: Subject) -> Iterator[Finding]:
    size = choose_size(subject.facts.size, subject.dataset, subject.rule)
    source = subject.facts.size
    covering, _ = cover_crop_box(source, size)
    scale = max(covering[0] / source[0], covering[1] / source[1])
    if scale > _ENLARGED:
        is_far = scale >= _FAR_ENLARGED
        message = (
            f"is {source[0]} x {source[1]} and is enlarged {scale:.1f} times to fill {size[0]} x {size[1]}:"
            " the model learns blur. "
            + ("Take it in higher resolution." if is_far else "Take it larger, or set bucket_no_upscale.")
        )
        kind = "low-resolution" if is_far else "upscaled"
        yield Finding(kind=kind, severity="warning", message=message)
    lost = 1 - size[0] * size[1] / (covering[0] * covering[1])
    if lost > _LOST:
        message = (
            f"is {source[0]} x {source[1]}: {100 * lost:.0f} % are cut away to fill {size[0]} x {size[1]}."
            " Set enable_bucket, or crop it yourself to what matters."
        )
        yield Finding(kind="aspect", severity="warning", message=message)
