"""Files of prompts: one a line, each with options of its own.

a red fox in snow --w 720 --h 480 --f 49 --d 42 --s 50 --g 6.0 --n "blurry" --i fox.png --ei end.png
a red fox in snow@@fox.png
# a comment
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reelwright.core.errors import FileError, suggestion
from reelwright.core.paths import cannot_read

Value = str | int | float

LETTERS: dict[str, tuple[str, type[Value]]] = {
    "w": ("width", int),
    "h": ("height", int),
    "f": ("num_frames", int),
    "d": ("seed", int),
    "s": ("steps", int),
    "g": ("guidance_scale", float),
    "n": ("negative_prompt", str),
    "i": ("image", str),
    "ei": ("end_image", str),
}
"""Option -> the configuration field it sets and that field's type."""

_OPTION = re.compile(
    r"""(?:^|\s)--(?P<letter>[A-Za-z][\w-]*)(?:[\s=]+|$)"""
    r"""(?P<value>"[^"]*"(?=\s|$)|'[^']*'(?=\s|$)|.*?)(?=\s+--[A-Za-z]|\s*$)"""
)


@dataclass(frozen=True, kw_only=True)
class PromptLine:
    """One prompt, the configuration fields that its line sets, and the line's number (from 1)."""

    prompt: str
    overrides: dict[str, Value]
    line: int


@dataclass(frozen=True, kw_only=True)
class PromptFile:
    """The lines of a file that can be read, and what is wrong with the others."""

    lines: list[PromptLine]
    problems: list[str]


def read_prompt_file(path: Path, letters: Mapping[str, tuple[str, type[Value]]] = LETTERS) -> PromptFile:
    """The prompts of a UTF-8 text file; blank lines and lines that start with # are skipped.

    An option's value reaches to the next option; quotes around it are dropped. `prompt@@path` is short for
    `--i path`. Raises FileError if the file cannot be read or is without prompts.
    """
    prompts: list[PromptLine] = []
    problems: list[str] = []
    for number, text in enumerate(_lines_of(path), start=1):
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        try:
            prompts.append(_parse_line(text.strip(), number, letters))
        except ValueError as error:
            problems.append(f"{path}: line {number}: {error}")
    if not prompts and not problems:
        raise FileError(f"{path}: holds no prompt. Write one prompt on each line.")
    return PromptFile(lines=prompts, problems=problems)


def _lines_of(path: Path) -> list[str]:
    try:
        return path.read_bytes().decode("utf-8-sig").splitlines()
    except OSError as error:
        raise cannot_read(path, error) from error
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: is not text in UTF-8. Save it as UTF-8.") from error


def _parse_line(text: str, number: int, letters: Mapping[str, tuple[str, type[Value]]]) -> PromptLine:
    """Split a line at its options. Raises ValueError that says what is wrong with it."""
    found = list(_OPTION.finditer(text))
    prompt, _, image = text[: found[0].start() if found else None].partition("@@")
    overrides: dict[str, Value] = {"image": image.strip()} if image.strip() else {}
    for option in found:
        letter = option["letter"]
        if letter not in letters:
            raise ValueError(f"--{letter}: unknown option. {_similar_option(letter, letters)}")
        name, kind = letters[letter]
        if name in overrides:
            raise ValueError(f"--{letter}: {name} is given twice. Keep one.")
        overrides[name] = _convert(letter, option["value"], kind)
    if not prompt.strip():
        raise ValueError("there is no prompt before the options. Write one.")
    return PromptLine(prompt=prompt.strip(), overrides=overrides, line=number)


def _similar_option(letter: str, letters: Mapping[str, tuple[str, type[Value]]]) -> str:
    """The option of a similar letter, or the one whose field was written out."""
    for option, (name, _) in letters.items():
        if name == letter.replace("-", "_"):
            return f"In a prompt file {name} is --{option}."
    return suggestion(f"--{letter}", (f"--{option}" for option in letters))


def _convert(letter: str, text: str, kind: type[Value]) -> Value:
    quoted = len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'"
    value = text[1:-1] if quoted else text
    if not value and not quoted:
        raise ValueError(f"--{letter}: has no value. Give one after it.")
    try:
        return kind(value)
    except ValueError as error:
        wanted = "a whole number" if kind is int else "a number"
        raise ValueError(f"--{letter}: {value!r} is not {wanted}.") from error
