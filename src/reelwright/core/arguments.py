"""Values that are written NAME=VALUE, for what other libraries take."""

import ast
from collections.abc import Sequence

from reelwright.core.errors import ConfigError

_WORDS = {"true": True, "false": False, "none": None}


def parse_arguments(words: Sequence[str], origin: str) -> dict[str, object]:
    """NAME=VALUE, ... -> the values: Python literals, true, false, none in any case, else the word as it is.

    `0.9,0.99` is a tuple, `1e-2` a number, `match_rms_adamw` text. Raises one ConfigError with all problems,
    each after `origin`.
    """
    values: dict[str, object] = {}
    problems: list[str] = []
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            problems.append(f"{word!r} is not NAME=VALUE. Write it as weight_decay=0.01.")
        elif name in values:
            problems.append(f"{name} is given twice. Keep one.")
        else:
            values[name] = parse_value(text)
    if problems:
        raise ConfigError("\n".join(f"{origin}: {problem}" for problem in problems))
    return values


def parse_value(text: str) -> object:
    """What one word stands for."""
    text = text.strip()
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text
