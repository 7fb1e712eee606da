"""`reelwright dataset synth|lint|preview ...`: make data sets and look at them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from reelwright import families
from reelwright.cli.actions import list_actions, run_action, take_action, take_family
from reelwright.cli.command_line import ORIGIN, read_command_line
from reelwright.cli.output import OutputFlags
from reelwright.core.config import validate
from reelwright.data.synthetic.config import SynthConfig
from reelwright.protocols.cache_configs import ClipsConfig
from reelwright.protocols.lint_config import LintConfig
from reelwright.protocols.preview_config import PreviewConfig


@dataclass(frozen=True, kw_only=True)
class SynthLine:
    """Draw clips by rule, with captions and the truth about every frame."""

    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")] = Path("synthetic")
    """The folder to write; what is there of the same recipe is kept."""
    config: Annotated[SynthConfig, tyro.conf.arg(name="")] = field(default_factory=SynthConfig)


@dataclass(frozen=True, kw_only=True)
class LintLine:
    """Tell what is wrong with clips and captions and what their caches take; --fix writes a mended copy."""

    config: Annotated[LintConfig, tyro.conf.arg(name="")] = field(default_factory=LintConfig)
    clips: Annotated[ClipsConfig, tyro.conf.arg(name="")] = field(default_factory=ClipsConfig)


@dataclass(frozen=True, kw_only=True)
class PreviewLine:
    """Draw contact sheets of exactly what will be trained on, or show it in other ways."""

    preview: Annotated[PreviewConfig, tyro.conf.arg(name="")] = field(default_factory=PreviewConfig)
    clips: Annotated[ClipsConfig, tyro.conf.arg(name="")] = field(default_factory=ClipsConfig)


LINES: Mapping[str, type] = {"synth": SynthLine, "lint": LintLine, "preview": PreviewLine}
"""For the reference pages."""


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One word after `reelwright dataset`."""

    usage: str
    line: Callable[[str], Any]
    """Family, or nothing -> the line where nothing is said; its fields are the arguments of the workflow."""
    workflow: str
    needs_family: bool = False
    """Whether a family's name comes first, which the workflow takes too."""


VERBS: Mapping[str, Verb] = {
    "synth": Verb(usage="synth OUT [--flags]", line=lambda _: SynthLine(), workflow="synth"),
    "lint": Verb(
        usage="lint FAMILY --dataset data.toml [--flags]",
        line=lambda family: LintLine(clips=families.configs(family).CLIPS()),
        workflow="lint",
        needs_family=True,
    ),
    "preview": Verb(
        usage="preview FAMILY --dataset data.toml [--flags]",
        line=lambda family: PreviewLine(clips=families.configs(family).CLIPS()),
        workflow="preview",
        needs_family=True,
    ),
}


def run(arguments: Sequence[str], output: OutputFlags) -> int:
    """Run the command line after `reelwright dataset` and return the exit code."""
    return run_action(arguments, output, parse=parse, usage=_usage)


def parse(arguments: Sequence[str]) -> tuple[str, dict[str, object]]:
    """The workflow and what it is told. Raises ConfigError."""
    action, words = take_action("dataset", arguments, VERBS)
    verb, given, command, family = VERBS[action], dict[str, object](), f"dataset {action}", ""
    if verb.needs_family:
        family, words = take_family(action, words)
        given, command = {"family": family}, f"{command} {family}"
    default = verb.line(family)
    line = read_command_line(
        type(default), words, command=command, about=str(type(default).__doc__), default=default
    )
    return verb.workflow, given | vars(_validated(line))


def _validated(line: Any) -> Any:  # noqa: ANN401 - any line
    """Every group of settings in a line, its values checked."""
    groups = {name: validate(value, ORIGIN) for name, value in vars(line).items() if is_dataclass(value)}
    return replace(line, **groups)


def _usage() -> str:
    listed = list_actions({verb.usage: str(LINES[name].__doc__) for name, verb in VERBS.items()})
    return f"usage: reelwright dataset ACTION ...\n\n{listed}\nEach action has --help.\n"
