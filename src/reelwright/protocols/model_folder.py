"""From what a user calls a model to the folder that holds it."""

from collections.abc import Sequence
from pathlib import Path

from reelwright.checkpoint.hub import find_model
from reelwright.checkpoint.settings_files import read_json
from reelwright.core.errors import ConfigError, nearest
from reelwright.protocols.variant import ASSETS, Variant

OWN_FACTS = "reelwright.json"
"""What a model folder of this program says of itself beside the released files."""


def find_variant(name: str, variants: Sequence[Variant]) -> Variant | None:
    """The variant of that name. Raises ConfigError for what is neither one, nor a folder, nor a hub id."""
    for variant in variants:
        if variant.name == name:
            return variant
    if "/" in name or Path(name).exists():
        return None
    names = [known.name for known in variants]
    close = nearest(name, names)
    advice = f"Did you mean {close}? " if close else ""
    raise ConfigError(f"model: {name!r} is no model, folder or hub id. {advice}Models: {', '.join(names)}.")


def find_root(name: str, variant: Variant | None, patterns: Sequence[str], *, offline: bool) -> Path:
    """The folder of a model: embedded, on disk, or from the hub. Raises FileError."""
    if variant is not None and variant.embedded:
        return ASSETS / variant.embedded
    repositories = variant.repositories if variant else (name,)
    return find_model(name, repositories=repositories, patterns=patterns, offline=offline)


def embedded_roots(variants: Sequence[Variant]) -> dict[str, Path]:
    """The folders of the models that are part of this package, by name."""
    roots = {known.name: ASSETS / known.embedded for known in variants if known.embedded}
    return {name: root for name, root in roots.items() if root.is_dir()}


def own_facts(root: Path) -> dict[str, str]:
    path = root / OWN_FACTS
    return {key: str(value) for key, value in read_json(path).items()} if path.is_file() else {}


def weight_notices(name: str, root: Path) -> tuple[str, ...]:
    if own_facts(root).get("weights") == "random":
        return (f"{name}: its weights are random, not trained: what they make is noise.",)
    return ()
