"""The states of a run, newest first: written beside each other, read from the last one that is whole."""

import re
from pathlib import Path

from reelwright.core.errors import CheckpointError, FileError
from reelwright.core.paths import atomic_folder, remove_folder, remove_leftovers, sync_folder
from reelwright.workflows.training.state_files import (
    RECORD,
    TrainingState,
    read_state_files,
    write_state_files,
)

__all__ = ["TrainingState", "has_states", "latest_state", "read_state", "write_state"]

_FOLDER = "states"
_NAME = re.compile(r"step-(\d{8,})(?:-again)?")
_AGAIN = "-again"


def write_state(folder: Path, state: TrainingState, *, keep: int) -> Path:
    """Write a state of the run in `folder`, and remove those that are older than the last `keep`.

    States of later steps are removed too: whoever writes an earlier one has gone back. A process that is
    killed, or a disk that is full, leaves all earlier states as they were. Raises FileError where the disk
    refuses; only one process may call this.
    """
    states = folder / _FOLDER
    remove_leftovers(states, inner=False)
    place = states / f"step-{state.progress['step']:08d}"
    # A state of this very step stays until the new one is whole.
    built = place.with_name(place.name + _AGAIN) if place.exists() else place
    if built != place and built.exists():
        remove_folder(built)
    with atomic_folder(built) as temporary:
        write_state_files(temporary, state)
    sync_folder(states)
    _prune(states, built, keep)
    return built if place.exists() else built.rename(place)


def has_states(folder: Path) -> bool:
    """Whether the run in `folder` has written any; they may be damaged."""
    return bool(_listed(folder / _FOLDER))


def latest_state(folder: Path) -> tuple[TrainingState, list[str]] | None:
    """The newest whole state of the run in `folder`, and what to tell of damaged ones that were passed over.

    None if no state was ever written. Raises CheckpointError if there are states and all are damaged.
    """
    damages: list[str] = []
    for place in _listed(folder / _FOLDER):
        try:
            return read_state_files(place), [
                f"{damage} The state before it is used: {place.name}." for damage in damages
            ]
        except FileError as error:
            damages.append(f"{place.name} is damaged: {error}")
    if not damages:
        return None
    raise CheckpointError(
        f"{folder}: no state is whole.\n"
        + "\n".join(damages)
        + "\nStart a new run; adapter.weights can start from the last weights that were saved."
    )


def read_state(path: Path) -> tuple[TrainingState, list[str]]:
    """The state in a folder that `write_state` gave, or the newest whole one of a run; and what to tell.

    Raises FileError if there is none, CheckpointError if it is damaged.
    """
    if (path / RECORD).exists() or _NAME.fullmatch(path.name):
        try:
            return read_state_files(path), []
        except CheckpointError as error:
            raise CheckpointError(
                f"{error} Give another state, or the run's folder, whose last whole state is then taken."
            ) from error
    found = latest_state(path.parent if path.name == _FOLDER else path)
    if found is None:
        raise FileError(
            f"{path}: there is no training state. Give the folder of a run, or a folder in its {_FOLDER}."
        )
    return found


def _listed(states: Path) -> list[Path]:
    """Newest first; of one step, the one that was written again."""
    places = [place for place in states.glob("step-*") if _NAME.fullmatch(place.name)]
    return sorted(places, key=lambda place: (_step(place), place.name), reverse=True)


def _step(place: Path) -> int:
    match = _NAME.fullmatch(place.name)
    assert match is not None
    return int(match[1])


def _prune(states: Path, newest: Path, keep: int) -> None:
    others = [place for place in _listed(states) if place != newest]
    before = [place for place in others if _step(place) < _step(newest)]
    for place in others:
        if place not in before[: keep - 1]:
            remove_folder(place)
