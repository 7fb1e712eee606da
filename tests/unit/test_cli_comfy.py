"""`reelwright comfy install`: what it puts where, and what it refuses."""

from pathlib import Path

import pytest

from reelwright.cli.main import main

NODES = Path(__file__).parents[2] / "comfyui"


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    """A folder that looks like a ComfyUI."""
    folder = tmp_path / "ComfyUI"
    (folder / "custom_nodes").mkdir(parents=True)
    for name in ("main.py", "nodes.py"):
        (folder / name).touch()
    return folder


def install(*words: object) -> int:
    return main(["comfy", "install", *map(str, words)])


def test_a_link_leads_to_the_nodes_and_installing_again_changes_nothing(comfyui: Path):
    for _ in range(2):
        assert install(comfyui) == 0
        assert (comfyui / "custom_nodes" / "reelwright").resolve() == NODES


def test_a_copy_is_whole_and_gives_way_to_a_link_and_back(comfyui: Path):
    target = comfyui / "custom_nodes" / "reelwright"
    for flags, is_link in ((["--copy"], False), ([], True), (["--copy"], False), (["--copy"], False)):
        assert install(comfyui, *flags) == 0
        assert target.is_symlink() == is_link
        wanted = {path.relative_to(NODES) for path in NODES.rglob("*") if "__pycache__" not in path.parts}
        assert {path.relative_to(target) for path in target.rglob("*")} >= wanted
    assert NODES.is_dir()


def test_what_is_no_comfyui_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert install(tmp_path) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "is no ComfyUI" in said and "main.py" in said and "custom_nodes" in said


def test_other_nodes_of_that_name_stay_as_they_are(comfyui: Path, capsys: pytest.CaptureFixture[str]):
    theirs = comfyui / "custom_nodes" / "reelwright" / "__init__.py"
    theirs.parent.mkdir()
    theirs.write_text("NODE_CLASS_MAPPINGS = {}\n")
    assert install(comfyui) == 1
    assert "holds other nodes" in " ".join(capsys.readouterr().err.split())
    assert theirs.read_text() == "NODE_CLASS_MAPPINGS = {}\n"
