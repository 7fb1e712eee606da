"""Put the nodes into a ComfyUI: a link to them, or a copy."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from reelwright.core.errors import FileError
from reelwright.core.events import Event, FileSaved, Finished, Notice
from reelwright.core.paths import atomic_folder, cannot_write

_PACKAGE = Path(__file__).parents[1]
_PLACES = (_PACKAGE / "assets" / "comfyui", _PACKAGE.parents[1] / "comfyui")
"""Where the nodes are: in an installed package, and in a checkout."""
_SIGNS = ("main.py", "nodes.py", "custom_nodes")
"""What every ComfyUI has in its folder."""
_NAME = "reelwright"
_IMPORTS = "from reelwright.comfy import"
"""What tells an earlier copy from someone else's folder."""


def run(comfyui: Path, copy: bool = False) -> Iterator[Event]:
    """Link, or copy, the folder of nodes into custom_nodes. An earlier link or copy gives way.

    Raises FileError for what is no ComfyUI, and where another program's nodes have that name.
    """
    started = time.perf_counter()
    nodes = next(place for place in _PLACES if (place / "__init__.py").is_file())
    target = _custom_nodes(comfyui.expanduser()) / _NAME
    _check_replaceable(target)
    if copy or not _link(target, nodes):
        _copy(target, nodes)
    yield FileSaved("nodes", str(target))
    yield Notice("Start ComfyUI anew. Its Python must have reelwright too; its templates have the examples.")
    yield Finished(({"nodes": str(target)},), time.perf_counter() - started)


def _custom_nodes(comfyui: Path) -> Path:
    missing = [name for name in _SIGNS if not (comfyui / name).exists()]
    if missing:
        raise FileError(
            f"{comfyui}: is no ComfyUI: it has no {', '.join(missing)}. Name the one with its main.py."
        )
    return comfyui / "custom_nodes"


def _check_replaceable(target: Path) -> None:
    start = target / "__init__.py"
    is_ours = target.is_symlink() or (start.is_file() and _IMPORTS in start.read_text(encoding="utf-8"))
    if target.exists() and not is_ours:
        raise FileError(f"{target}: holds other nodes than these. Move it away, and install again.")


def _link(target: Path, nodes: Path) -> bool:
    """Whether there is a link now; some systems allow none."""
    try:
        if target.is_symlink():
            target.unlink()
        elif target.is_dir():
            shutil.rmtree(target)
        target.symlink_to(nodes.resolve(), target_is_directory=True)
    except NotImplementedError:
        return False
    except OSError as error:
        if target.parent.is_dir() and not target.exists() and getattr(error, "winerror", None):
            return False
        raise cannot_write(target, error) from error
    return True


def _copy(target: Path, nodes: Path) -> None:
    if target.is_symlink():
        target.unlink()
    with atomic_folder(target) as building:
        shutil.copytree(
            nodes, building, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
        )
