"""Whether there are scenes as they are asked for."""

from collections.abc import Collection, Iterator

from reelwright.core.errors import ConfigError, suggestion
from reelwright.data.synthetic.describing import visible_colors
from reelwright.data.synthetic.scene import Background, SceneOptions
from reelwright.data.synthetic.vocabulary import COLORS, MOTIONS, PLACES, SHAPES, TONE_PAIRS, WALLS

_WORDS: dict[str, Collection[str]] = {
    "shapes": SHAPES,
    "colors": COLORS,
    "motions": MOTIONS,
    "backgrounds": (*WALLS, *PLACES),
}


def check_options(options: SceneOptions) -> None:
    """Raise ConfigError for words that the vocabulary lacks, and for colors that no background shows."""
    unknown = [
        f"{name}: {word!r} is no such word. {suggestion(word, known)}"
        for name, known in _WORDS.items()
        for word in getattr(options, name)
        if word not in known
    ]
    if unknown:
        raise ConfigError("\n".join(unknown))
    hidden = [
        kind
        for kind in options.backgrounds or _WORDS["backgrounds"]
        if not any(visible_colors(background, options) for background in _of_kind(kind))
    ]
    if options.backgrounds and hidden:
        colors = ", ".join(options.colors)
        raise ConfigError(
            f"backgrounds: {hidden[0]}: {colors} would not stand out. Leave it out, or allow other colors."
        )


def _of_kind(kind: str) -> Iterator[Background]:
    if kind in PLACES:
        yield Background(kind=kind)
        return
    for pair in TONE_PAIRS:
        yield from (
            Background(kind=kind, tones=tones[:1] if kind == "plain" else tones)
            for tones in (pair, pair[::-1])
        )
