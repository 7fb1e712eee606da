"""Command lines of musubi-tuner's scripts: a family's table of flags, and the same workflows."""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn, get_type_hints

from reelwright import families
from reelwright.cli.flag_file import values_of_file
from reelwright.cli.generate import start
from reelwright.cli.main import run_guarded
from reelwright.cli.output import OutputFlags, open_sinks
from reelwright.core.config import field_docs
from reelwright.core.errors import ConfigError, suggestion
from reelwright.core.events import Notice
from reelwright.jobs.job import run_workflow
from reelwright.protocols.guide_flags import GuideCommand, GuideFlag, GuideRun

_FLAG = re.compile(r"-h|--[A-Za-z][\w-]*(=.*)?", re.DOTALL)
_EVERYWHERE = "Underscores and dashes are the same. As in every command: --json, --quiet, --debug."


def generate_video(arguments: Sequence[str] | None = None) -> int:
    """The console script `fpack_generate_video`."""
    return run_guarded(partial(run, "fpack_generate_video"), arguments)


def cache_latents(arguments: Sequence[str] | None = None) -> int:
    """The console script `fpack_cache_latents`."""
    return run_guarded(partial(run, "fpack_cache_latents"), arguments)


def cache_text_encoder_outputs(arguments: Sequence[str] | None = None) -> int:
    """The console script `fpack_cache_text_encoder_outputs`."""
    return run_guarded(partial(run, "fpack_cache_text_encoder_outputs"), arguments)


def train_network(arguments: Sequence[str] | None = None) -> int:
    """The console script `fpack_train_network`."""
    return run_guarded(partial(run, "fpack_train_network"), arguments)


def run(name: str, arguments: Sequence[str], output: OutputFlags) -> int:
    """Run a command line of the script of that name and return the exit code."""
    family, command = families.guide_command(name)
    values, notices = parse(command, arguments)
    runs = configure(command, values)
    with open_sinks(output) as sinks:
        for notice in notices:
            for sink in sinks:
                sink(Notice(notice))
    is_interactive = bool(values.get("interactive"))
    return max((_start(family, each, output, is_interactive=is_interactive) for each in runs), default=0)


def parse(command: GuideCommand, arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The value of every flag, and what is to be said of flags without effect. Raises ConfigError."""
    parser = _parser(command)
    known, unknown = parser.parse_known_args(list(_normalized(command, arguments)))
    given = {**values_of_file(command, vars(known)), **vars(known)}
    flags = {flag.name: flag for flag in command.flags}
    problems = [f"{word}: is no flag. {suggestion(word, _words(command))}" for word in unknown[:1]]
    problems += [f"--{name}: {flags[name].refusal}" for name in given if flags[name].refusal]
    if problems:
        raise ConfigError("\n".join(f"{command.name}: {problem}" for problem in problems))
    notices = [
        f"--{name}: {flags[name].notice}"
        for name, value in given.items()
        if flags[name].notice and value not in (flags[name].default, *flags[name].plain)
    ]
    return {flag.name: given.get(flag.name, flag.default) for flag in command.flags}, notices


def configure(command: GuideCommand, values: Mapping[str, Any]) -> Sequence[GuideRun]:
    """The runs that the values ask for. Raises ConfigError, which names the flags rather than our fields."""
    try:
        return command.configure(values, set_fields(command, values))
    except ConfigError as error:
        said = str(error)
        for flag in command.flags:
            if isinstance(flag.sets, str) and flag.sets:
                said = said.replace(f"{command.name}: {flag.sets}: ", f"{command.name}: --{flag.name}: ")
        raise ConfigError(said) from error


def set_fields(command: GuideCommand, values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that the flags set, groups within."""
    fields: dict[str, Any] = {}
    for flag in command.flags:
        value = values[flag.name]
        if callable(flag.sets):
            made = flag.sets(value)
        else:
            made = {flag.sets: value} if flag.sets and value is not None else {}
        for name, each in made.items():
            group, _, key = name.rpartition(".")
            (fields.setdefault(group, {}) if group else fields)[key] = each
    return fields


def _start(family: str, asked: GuideRun, output: OutputFlags, *, is_interactive: bool) -> int:
    """Do what was asked for and return the exit code."""
    if is_interactive:
        return start(family, asked.config, output, is_interactive=True)
    job: dict[str, object] = {"family": family, asked.config_name: asked.config, **asked.arguments}
    with open_sinks(output) as sinks:
        return run_workflow(asked.workflow, job, sinks)


class _Parser(argparse.ArgumentParser):
    """Complains as all our commands do."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{self.prog}: {message}.")


def _parser(command: GuideCommand) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=command.name,
        description=f"{command.about} {_EVERYWHERE}",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    for flag in command.flags:
        meaning = _meaning(flag, command.schema).replace("%", "%%")
        if flag.count == "switch":
            parser.add_argument(f"--{flag.name}", action="store_true", help=meaning)
            continue
        counts: dict[str | int, str | int | None] = {"one": None, "many": "*"}
        parser.add_argument(
            f"--{flag.name}",
            type=_kind(flag),
            nargs=counts.get(flag.count, flag.count),
            choices=flag.choices or None,
            help=meaning if flag.default is None else f"{meaning} [{flag.default}]",
        )
    return parser


def _kind(flag: GuideFlag) -> Callable[[str], object]:
    """Of each word; a family's own function says itself what is wrong."""
    if isinstance(flag.kind, type):
        return flag.kind

    def parsed(word: str) -> object:
        try:
            return flag.kind(word)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parsed


def _meaning(flag: GuideFlag, schema: type[Any]) -> str:
    said = flag.meaning or flag.refusal or flag.notice
    if said or not isinstance(flag.sets, str) or not flag.sets:
        return said
    group, _, name = flag.sets.rpartition(".")
    owner: type[Any] = get_type_hints(schema)[group] if group else schema
    return " ".join(field_docs(owner)[name].split())


def _words(command: GuideCommand) -> list[str]:
    return [f"--{flag.name}" for flag in command.flags]


def _normalized(command: GuideCommand, arguments: Sequence[str]) -> list[str]:
    """Flags with underscores; a value that begins with a dash, as -1:end.png, is tied to its flag."""
    singles = {f"--{flag.name}" for flag in command.flags if flag.count == "one"}
    words: list[str] = []
    for word in arguments:
        name, equals, value = word.partition("=")
        flag = f"--{name[2:].replace('-', '_')}"
        if name.startswith("--") and flag in _words(command):
            words.append(f"{flag}{equals}{value}")
        elif words and words[-1] in singles and word.startswith("-") and not _FLAG.fullmatch(word):
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words
