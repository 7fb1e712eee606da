"""Sizes and counts as people read them."""


def size_text(num_bytes: float) -> str:
    """As 1.5 GB, 20.0 MB or 3 kB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes / 1e3:.0f} kB"


def counted(count: int, word: str) -> str:
    """As 1 thread or 2 threads."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
