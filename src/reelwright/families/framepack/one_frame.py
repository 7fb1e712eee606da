"""One-frame mode's options: which times the frames and the control images have (specs: FramePack 9).

default
target_index=9,control_index=0
target_index=1;5;9,control_index=0;10,no_post,no_2x,no_4x
"""

from dataclasses import dataclass

from reelwright.core.errors import ConfigError, suggestion


@dataclass(frozen=True, kw_only=True)
class OneFrameOptions:
    """What single frames are made of; what is empty takes the released default."""

    target_index: tuple[int, ...] = ()
    """Time of each frame to make; empty is one frame, right after a section's length."""
    control_index: tuple[int, ...] = ()
    """Time of each control image; 0 for those not listed."""
    no_2x: bool = False
    """Leave out the zeros at half resolution."""
    no_4x: bool = False
    """Leave out the zeros at quarter resolution."""
    no_post: bool = False
    """Leave out the latent of zeros after the section; a fifth faster."""


_LISTS = ("target_index", "control_index")
_SWITCHES = ("no_2x", "no_4x", "no_post")
_REMOVED = {
    "history_index": "It is called control_index now.",
    "zero_post": "The latent after the section is always zeros; leave this out, or say no_post to drop it.",
}


def parse_one_frame(text: str, origin: str = "one_frame") -> OneFrameOptions:
    """The options in a comma-separated text; "default" changes nothing.

    Raises ConfigError, which begins with `origin`, for options that are unknown, removed, repeated, or have
    no legal value.
    """
    lists: dict[str, tuple[int, ...]] = {}
    seen: set[str] = set()
    for option in text.split(","):
        name, equals, value = (part.strip() for part in option.partition("="))
        _check_name(name, seen, origin)
        seen.add(name)
        if name in _LISTS:
            lists[name] = _parse_indices(name, value, origin)
        elif equals:
            raise ConfigError(f"{origin}: {name} takes no value. Write {name} alone.")
    targets = lists.get("target_index", ())
    if len(set(targets)) < len(targets):
        raise ConfigError(f"{origin}: target_index lists a time twice. Give each frame a time of its own.")
    return OneFrameOptions(
        target_index=targets,
        control_index=lists.get("control_index", ()),
        no_2x="no_2x" in seen,
        no_4x="no_4x" in seen,
        no_post="no_post" in seen,
    )


def write_one_frame(options: OneFrameOptions) -> str:
    """The text that `parse_one_frame` reads these options from."""
    lists = {name: getattr(options, name) for name in _LISTS}
    said = [f"{name}={';'.join(map(str, indices))}" for name, indices in lists.items() if indices]
    return ",".join([*said, *(name for name in _SWITCHES if getattr(options, name))]) or "default"


def _check_name(name: str, seen: set[str], origin: str) -> None:
    known = ("default", *_LISTS, *_SWITCHES)
    if not name:
        raise ConfigError(f"{origin}: an option is empty. Separate options by one comma, or write default.")
    if name in _REMOVED:
        raise ConfigError(f"{origin}: {name} no longer exists. {_REMOVED[name]}")
    if name not in known:
        raise ConfigError(f"{origin}: {name} is unknown. {suggestion(name, known)}")
    if name in seen:
        raise ConfigError(f"{origin}: {name} is given twice. Keep one.")


def _parse_indices(name: str, value: str, origin: str) -> tuple[int, ...]:
    numbers = [number.strip() for number in value.split(";")]
    if not all(number.isdecimal() for number in numbers):
        raise ConfigError(
            f"{origin}: {name}={value} is not a list of whole numbers. Write them as {name}=0;10."
        )
    return tuple(map(int, numbers))
