"""The rules of the tree, measured: who may import whom, where names may stand, that documents work."""

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from reelwright import families
from reelwright.cli import (
    bench,
    cache,
    comfy,
    curves,
    dataset,
    doctor,
    evaluate,
    generate,
    lora,
    models,
    plan,
    queue,
    replay,
    resume,
    studio,
    train,
)
from reelwright.cli.main import COMMANDS
from reelwright.cli.reference import reference_pages

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "reelwright"
SCRIPTS = Path(sys.executable).parent
NEEDS_WEIGHTS = "<!-- needs weights -->"
KEEPS_RUNNING = "<!-- keeps running -->"
"""What stands before commands that are read, but not run."""
SHORTER = r"<!-- tests add (--.*?) -->"
"""What stands before commands that take long: flags that make them short."""
CALLERS = {"rest_client"}
"""Examples that call a studio; its own tests run them."""
PROGRAMS = ("reelwright ", "fpack_")
SHELL = re.compile(r"[|&;<>$`~]|\*\.")


def sources() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def calls(path: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


PARSERS = {
    "generate": generate.parse,
    "cache": cache.parse,
    "train": train.parse,
    "lora": lora.parse,
    "models": models.parse,
    "dataset": dataset.parse,
    "curves": curves.parse,
    "evaluate": evaluate.parse,
    "replay": replay.parse,
    "resume": resume.parse,
    "bench": bench.parse,
    "doctor": doctor.parse,
    "studio": studio.parse,
    "plan": plan.parse,
    "queue": queue.parse,
    "comfy": comfy.parse,
}


def test_layers_import_only_from_below():
    result = subprocess.run(
        [SCRIPTS / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def test_what_answers_in_a_blink_imports_nothing_heavy():
    light = [SOURCE / "protocols" / "configs.py", *SOURCE.glob("families/*/config.py")]
    light += SOURCE.glob("families/*/guide_flags.py")
    for layer in ("core", "jobs", "cli"):
        light += (SOURCE / layer).rglob("*.py")
    names = [".".join(path.relative_to(SOURCE.parent).with_suffix("").parts) for path in light]
    imports = "; ".join(f"import {name.removesuffix('.__init__')}" for name in names)
    heavy = {"torch", "transformers", "numpy", "av", "PIL", "huggingface_hub", "nicegui"}
    result = python(f"import sys; {imports}; print(*({heavy} & set(sys.modules)))")
    assert (result.returncode, result.stdout.split()) == (0, []), result.stdout + result.stderr


def test_the_list_of_commands_needs_no_third_party_package():
    slow = {"tyro", "pydantic", "rich", "filelock", "tomli_w", "importlib.metadata"}
    call = "from reelwright.cli.main import main; code = main(['--help'])"
    result = python(
        f"import sys; {call}; print(*({slow} & set(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    assert (result.returncode, result.stderr.split()) == (0, [])


def test_nothing_outside_its_folder_names_a_family():
    leaks = [
        f"{path.relative_to(ROOT)} names {family}"
        for family in families.names()
        for path in sources()
        if not path.is_relative_to(SOURCE / "families" / family) and family in path.read_text().lower()
    ]
    assert leaks == []


def test_no_file_is_called_after_what_it_is_not():
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "base", "manager"}
    named = [path for path in SOURCE.rglob("*") if vague & set(path.stem.lower().split("_"))]
    assert named == []


def test_no_file_is_longer_than_500_lines():
    files = [*sources(), *(ROOT / "tests").rglob("*.py")]
    assert [path for path in files if len(path.read_text().splitlines()) > 500] == []


def test_nothing_depends_on_the_machine_it_was_written_on():
    of_one_machine = re.compile("|".join(("/wor" + "k/", "/roo" + "t/", "/hom" + r"e/\w")))
    folders = ("src", "tests", "docs", "recipes", "examples", "benchmarks")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    files += [path for path in ROOT.iterdir() if path.suffix in (".md", ".toml") or path.name == "Makefile"]
    texts = [path for path in files if path.suffix in (".py", ".md", ".toml", ".json", "") and path.is_file()]
    assert [path for path in texts if of_one_machine.search(path.read_text())] == []


def test_the_library_never_prints():
    printing = [
        path
        for path in sources()
        if any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls(path))
    ]
    assert printing == []


def test_pickles_are_loaded_as_weights_only():
    def is_unsafe(call: ast.Call) -> bool:
        names = ast.unparse(call.func)
        safe = any(item.arg == "weights_only" and ast.unparse(item.value) == "True" for item in call.keywords)
        return names in ("torch.load", "pickle.load", "pickle.loads") and not safe

    assert [path for path in sources() if any(map(is_unsafe, calls(path)))] == []


def test_model_files_know_nothing_of_how_they_are_run():
    policy = re.compile(r"(?i)\b(offload|cache|fp8|parallel|compile)")
    models = [*SOURCE.glob("families/*/transformer.py"), *SOURCE.glob("families/*/autoencoder.py")]
    found = {
        f"{path.relative_to(SOURCE)}: {word}" for path in models for word in policy.findall(path.read_text())
    }
    assert found == set()


def test_every_recipe_loads_and_begins_with_its_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    for path in sorted(Path("recipes").rglob("*.toml")):
        family = path.parent.name
        workflow = tomllib.loads(path.read_text())["workflow"]
        command, *arguments = shlex.split(path.read_text().splitlines()[0].removeprefix("# "))
        words = workflow.split()
        assert [command, *arguments[: len(words) + 2]] == ["reelwright", *words, family, path.as_posix()]
        PARSERS[words[0]](arguments[1:])


@dataclass(frozen=True)
class Block:
    """The lines of one bash block of a document that start our programs."""

    needs_weights: bool
    commands: tuple[str, ...]


def blocks(document: Path) -> list[Block]:
    found = re.findall(
        rf"(?m)^((?:{NEEDS_WEIGHTS}|{KEEPS_RUNNING})\s*\n\s*)?(?:{SHORTER}\s*\n\s*)?```bash\n(.*?)^```",
        document.read_text(),
        re.DOTALL,
    )
    return [Block(bool(mark), tuple(commands(text, flags))) for mark, flags, text in found]


def commands(text: str, flags: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith(PROGRAMS):
            yield f"{line} {flags}" if flags else line


def documents() -> list[Path]:
    files = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path for path in files if any(block.commands for block in blocks(path))]


def run_line(line: str) -> int:
    """In this process, which knows the libraries by now; by a shell where it needs one."""
    program, *words = shlex.split(line, comments=True)
    if SHELL.search(line):
        path = f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(["bash", "-c", line], env={**os.environ, "PATH": path}, check=False).returncode
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, name = scripts[program].partition(":")
    return getattr(import_module(module), name)(words)


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.stem)
def test_the_commands_of_the_documents_run(
    document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """In their order and in one folder for each document, since later ones use what earlier ones made."""
    monkeypatch.chdir(tmp_path)
    for name in ("recipes", "docs", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    commands = [line for block in blocks(document) if not block.needs_weights for line in block.commands]
    for command in commands:
        assert run_line(command) == 0, f"{command}\n{capfd.readouterr().err}"
    if document.parent.parent == ROOT / "docs":
        for code in python_blocks(document):
            run_python(code)


def python_blocks(document: Path) -> list[str]:
    return re.findall(r"(?m)^```python\n(.*?)^```", document.read_text(), re.DOTALL)


def run_python(code: str) -> None:
    """In this process too."""
    exec(compile(code, "example", "exec"), {"__name__": "__main__"})


EXAMPLES = [
    *python_blocks(ROOT / "README.md"),
    *(path.read_text() for path in sorted((ROOT / "examples").glob("*.py")) if path.stem not in CALLERS),
]


@pytest.mark.parametrize("code", EXAMPLES, ids=lambda code: code.strip().splitlines()[0].strip('"'))
def test_the_python_of_the_readme_and_the_examples_runs(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    run_python(code)
    assert ".mp4" in capsys.readouterr().out


def test_the_reference_pages_are_those_of_the_schemas():
    folder = ROOT / "docs" / "reference"
    written = {path.name: path.read_text() for path in folder.glob("*.md")}
    assert written == reference_pages(), "python -m reelwright.cli.reference docs/reference"


def test_the_commands_that_need_weights_are_well_formed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    needy = [block for document in documents() for block in blocks(document) if block.needs_weights]
    for command in (line for block in needy for line in block.commands):
        _, word, *arguments = shlex.split(command, comments=True)
        assert word in COMMANDS, command
        PARSERS[word](arguments)


def test_the_commands_of_a_document_are_found(tmp_path: Path):
    plain = "```bash\nreelwright a \\\n--b c\nls\n```\n"
    needy = f"{NEEDS_WEIGHTS}\n```bash\nreelwright d\n```\n"
    long = "<!-- tests add --steps 2 -->\n```bash\nreelwright e --steps 900\n```\n"
    document = tmp_path / "page.md"
    document.write_text(f"# Title\n{plain}\n{needy}\n{long}")
    first, second, third = blocks(document)
    assert third.commands == ("reelwright e --steps 900 --steps 2",)
    assert (first.needs_weights, first.commands) == (False, ("reelwright a  --b c",))
    assert (second.needs_weights, second.commands) == (True, ("reelwright d",))
