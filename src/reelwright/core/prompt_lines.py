"""Prompts with options of their own: lines of a file, lines typed at the prompt.

a red fox in snow --w 720 --h 480 --d 42 --n "blurry --and noisy" --video-seconds 5
a red fox in snow@@fox.png
"a sign that reads --stop here" --d 3
# a comment

An option is ` --name value`; the value reaches to the next option. What stands in quotes is text, whatever it
looks like; quotes around a whole prompt or value are dropped. ` -- ` alone is text too.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from reelwright.core.errors import FileError, nearest
from reelwright.core.paths import cannot_read

Scalar = str | int | float | bool
Value = Scalar | list[Scalar]


@dataclass(frozen=True, kw_only=True)
class PromptOption:
    """What one letter, or one long name, sets."""

    sets: str
    """Of the configuration."""
    kind: type[Scalar] = str
    is_negated: bool = False
    """A switch that switches off: --no-loop."""
    is_list: bool = False
    """Each use adds to a list; of numbers, several in one value too: 0,0,1."""
    also: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])
    """Fields that take a value along with it, unless the line sets them itself."""
    is_prompt: bool = False
    """Says what to show, so that the line needs no other words."""
    explanation: str = ""
    """What the letter means here, where other programs mean something else by it."""
    explain_from: float = float("inf")
    """Whole numbers from here on look as if the other meaning was meant, and get the explanation."""
    refusal: str = ""
    """Why it cannot be used, and what to do."""


Options = Mapping[str, PromptOption]

SHARED_LETTERS: Options = {
    "w": PromptOption(sets="width", kind=int),
    "h": PromptOption(sets="height", kind=int),
    "d": PromptOption(sets="seed", kind=int),
    "s": PromptOption(sets="steps", kind=int),
    "n": PromptOption(sets="negative_prompt"),
    "i": PromptOption(sets="image"),
    "ei": PromptOption(sets="end_image"),
}
"""Letters that mean the same for every family."""


@dataclass(frozen=True, kw_only=True)
class PromptLine:
    """One prompt, the configuration fields that its line sets, and the line's number (from 1)."""

    prompt: str
    overrides: dict[str, Value]
    line: int
    notices: tuple[str, ...] = ()
    """What its options mean here, where the values look as if something else was meant."""


@dataclass(frozen=True, kw_only=True)
class PromptFile:
    """The lines of a file that can be read, and what is wrong with the others."""

    lines: list[PromptLine]
    problems: list[str]


def prompt_options(schema: type, letters: Options, of_the_run: Collection[str] = ()) -> Options:
    """The letters, and the long name of every field of a schema.

    Fields `of_the_run`, and groups of fields, can be named only to be refused: they are the same for all
    prompts of a run.
    """
    hints = get_type_hints(schema)
    long_names = {
        item.name: _refused(item.name)
        if item.name in of_the_run or is_dataclass(hints[item.name])
        else _option(item.name, hints[item.name])
        for item in fields(schema)
    }
    switches = {
        f"no_{name}": replace(option, is_negated=True)
        for name, option in long_names.items()
        if option.kind is bool
    }
    return {**switches, **long_names, **letters}


def read_prompt_file(path: Path, options: Options) -> PromptFile:
    """The prompts of a UTF-8 text file; blank lines and lines that start with # are skipped.

    Raises FileError if the file cannot be read or is without prompts.
    """
    prompts: list[PromptLine] = []
    problems: list[str] = []
    for number, text in enumerate(_lines_of(path), start=1):
        if is_blank(text):
            continue
        try:
            prompts.append(parse_prompt_line(text, number, options))
        except ValueError as error:
            problems.append(f"{path}: line {number}: {error}")
    if not prompts and not problems:
        raise FileError(f"{path}: holds no prompt. Write one prompt on each line.")
    return PromptFile(lines=prompts, problems=problems)


def is_blank(text: str) -> bool:
    """Whether a line asks for nothing: it is empty or a comment."""
    return not text.strip() or text.lstrip().startswith("#")


def parse_prompt_line(text: str, number: int, options: Options) -> PromptLine:
    """What one line asks for. Raises ValueError that says what is wrong with it."""
    prompt, given = _split(text)
    prompt, _, image = prompt.partition("@@")
    line = _Line()
    if image.strip():
        line.take("@@", PromptOption(sets="image"), image.strip())
    for name, value in given:
        line.take(f"--{name}", _known(name, options), value)
    if prompt.strip():
        line.take("the words before the options", PromptOption(sets="prompt", is_prompt=True), prompt.strip())
    return line.finish(number)


def with_option(text: str, name: str, value: Scalar, options: Options) -> str:
    """The line with that option instead of all that set the same field."""
    wanted = _known(name, options).sets
    prompt, given = _split(text)
    kept = [f"--{other} {said}" for other, said in given if _known(other, options).sets != wanted]
    return " ".join([prompt.strip(), *kept, f"--{name} {value}"])


class _Line:
    """The options of a line, put together as they come."""

    def __init__(self) -> None:
        self._values: dict[str, Value] = {}
        self._also: dict[str, Scalar] = {}
        self._said_by: dict[str, str] = {}
        self._notices: list[str] = []
        self._has_prompt = False

    def take(self, name: str, option: PromptOption, text: str) -> None:
        if option.refusal:
            raise ValueError(f"{name}: {option.refusal}")
        value = _convert(name, text, option)
        self._add(name, option, value)
        self._also |= option.also
        self._has_prompt = self._has_prompt or option.is_prompt
        if isinstance(value, int | float) and value >= option.explain_from and float(value).is_integer():
            self._notices.append(f"{name} {text}: {option.explanation}")

    def finish(self, number: int) -> PromptLine:
        if not self._has_prompt:
            raise ValueError("there is no prompt before the options. Write one.")
        values = {**self._also, **self._values}
        prompt = values.pop("prompt", "")
        assert isinstance(prompt, str)
        return PromptLine(prompt=prompt, overrides=values, line=number, notices=tuple(self._notices))

    def _add(self, name: str, option: PromptOption, value: Value) -> None:
        before = self._values.get(option.sets)
        if option.is_list:
            assert isinstance(value, list)
            self._values[option.sets] = [*(before if isinstance(before, list) else []), *value]
            return
        if option.sets in self._said_by:
            both = dict.fromkeys((self._said_by[option.sets], name))
            raise ValueError(f"{' and '.join(both)}: {option.sets} is given twice. Keep one.")
        self._values[option.sets] = value
        self._said_by[option.sets] = name


_QUOTED = re.compile(r"""(?<![^\s=:;,(\[@])(?P<quote>["'])(?:(?!(?P=quote)).)*(?P=quote)(?!\w)""")
"""A quote opens where a word begins and closes where one ends: the dogs' and 6" are none."""
_OPTION = re.compile(r"(?:^|\s)--(?P<name>[A-Za-z][^\s=]*)")


def _split(text: str) -> tuple[str, list[tuple[str, str]]]:
    """The words before the options, and each option with its value."""
    masked = _QUOTED.sub(lambda quoted: "\0" * len(quoted[0]), text)
    found = list(_OPTION.finditer(masked))
    starts = [*(option.start() for option in found), len(text)]
    values = (text[option.end() : end] for option, end in zip(found, starts[1:], strict=True))
    given = [
        (option["name"], value.strip().removeprefix("=").strip())
        for option, value in zip(found, values, strict=True)
    ]
    return text[: starts[0]], given


def _known(name: str, options: Options) -> PromptOption:
    option = options.get(name) or options.get(name.replace("-", "_"))
    if option is None:
        close = nearest(f"--{name}", (f"--{_dashed(known)}" for known in options))
        hint = f"Did you mean {close}?" if close else "Options are named like the flags of the command line."
        raise ValueError(
            f"--{name}: unknown option. {hint} If it belongs to the prompt, put quotes around the prompt."
        )
    return option


def _convert(name: str, text: str, option: PromptOption) -> Value:
    value = _unquoted(text)
    is_quoted = value != text
    if option.kind is bool:
        return _switch(name, value) != option.is_negated
    if not value and not is_quoted:
        raise ValueError(f"{name}: has no value. Give one after it.{_because(option)}")
    if not option.is_list:
        return _number(name, value, option)
    parts = [value] if option.kind is str else [part for part in re.split(r"[,\s]+", value) if part]
    return [_number(name, part, option) for part in parts]


def _number(name: str, text: str, option: PromptOption) -> Scalar:
    try:
        return option.kind(text)
    except ValueError as error:
        wanted = "a whole number" if option.kind is int else "a number"
        raise ValueError(f"{name}: {text!r} is not {wanted}.{_because(option)}") from error


def _switch(name: str, text: str) -> bool:
    if text.lower() in ("", "true", "yes", "on", "1"):
        return True
    if text.lower() in ("false", "no", "off", "0"):
        return False
    raise ValueError(f"{name}: {text!r} is neither true nor false. Write {name} alone to switch it on.")


def _because(option: PromptOption) -> str:
    return f" {option.explanation}" if option.explanation else ""


def _unquoted(text: str) -> str:
    match = _QUOTED.fullmatch(text)
    return text[1:-1] if match else text


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _refused(name: str) -> PromptOption:
    advice = f"Give --{_dashed(name)} on the command line."
    return PromptOption(sets=name, refusal=f"is the same for all prompts of a run. {advice}")


def _option(name: str, hint: Any) -> PromptOption:  # noqa: ANN401 - any type of a field
    """What a field of that type takes from a line: a choice and a path are words."""
    is_list = get_origin(hint) is tuple
    kind = get_args(hint)[0] if is_list else hint
    return PromptOption(
        sets=name,
        kind=kind if kind in (int, float, bool) else str,
        is_list=is_list,
        is_prompt=name == "prompt",
    )


def _lines_of(path: Path) -> list[str]:
    try:
        return path.read_bytes().decode("utf-8-sig").splitlines()
    except OSError as error:
        raise cannot_read(path, error) from error
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: is not text in UTF-8. Save it as UTF-8.") from error
