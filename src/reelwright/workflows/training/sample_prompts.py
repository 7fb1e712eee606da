"""Files of prompts for clips made while training: lines of text, TOML, JSON.

A line is as in a file of prompts for `generate`, but for letters that trainers read otherwise: --f is frames,
--g distilled guidance (of models that have it), --l real guidance. TOML has a table [prompt] of what all
share and a [[prompt.subset]] for each; JSON is a list of objects, also as {"data": [...]}. Their keys are the
long names of options, or those of other trainers.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reelwright import families
from reelwright.core.config import read_toml
from reelwright.core.errors import ConfigError, FileError, suggestion
from reelwright.core.paths import cannot_read
from reelwright.core.prompt_lines import (
    Options,
    PromptFile,
    PromptLine,
    PromptOption,
    Value,
    read_prompt_file,
)

_OTHER_NAMES = {
    "caption": "prompt",
    "image_path": "image",
    "end_image_path": "end_image",
    "video_path": "video",
    "control_image_path": "control_image",
    "control_video_path": "control_video",
    "frame_count": "num_frames",
    "sample_steps": "steps",
    "num_inference_steps": "steps",
    "cfg_scale": "guidance_scale",
    "discrete_flow_shift": "flow_shift",
}
"""What other trainers call the same, in TOML and JSON."""
_ONE_CLIP = PromptOption(
    sets="", refusal="one clip is made of each prompt. Write the prompt again with another --d."
)
_DISTILLED = "distilled_guidance"
_AMBIGUOUS = (
    "guidance_scale: is distilled guidance to other trainers, but real guidance here. Write"
    " distilled_guidance or cfg_scale."
)


def sample_options(family: str) -> Options:
    """What a prompt can set while training, by letter and by long name."""
    known: Options = families.configs(family).PROMPT_OPTIONS
    frames = "--f is frames in prompts for training, whatever it is when clips are generated."
    distilled = "--g is distilled guidance in prompts for training; real guidance is --l."
    options = {
        **known,
        "num_videos": _ONE_CLIP,
        "f": replace(known["num_frames"], explanation=frames),
        "l": PromptOption(sets="guidance_scale", kind=float, explanation="--l is real guidance."),
    }
    if _DISTILLED in known:
        options["g"] = replace(known[_DISTILLED], explanation=distilled)
    differing = (name for name in ("f", "g") if name in known and options[name].sets != known[name].sets)
    return {**options, **{name: replace(options[name], explain_from=0) for name in differing}}


def read_sample_prompts(path: Path, family: str) -> PromptFile:
    """The prompts that can be read, numbered by line or, in TOML and JSON, by place; and what is wrong.

    Raises FileError or ConfigError for a file that cannot be read at all.
    """
    options = sample_options(family)
    match path.suffix.lower():
        case ".toml":
            return _from_tables(path, _tables_of_toml(path), options)
        case ".json":
            return _from_tables(path, _tables_of_json(path), options)
        case _:
            return read_prompt_file(path, options)


def _from_tables(path: Path, tables: Sequence[object], options: Options) -> PromptFile:
    lines: list[PromptLine] = []
    problems: list[str] = []
    for number, table in enumerate(tables, start=1):
        try:
            lines.append(_line(table, number, options))
        except ValueError as error:
            problems.append(f"{path}: prompt {number}: {error}")
    if not lines and not problems:
        raise FileError(f"{path}: holds no prompt. Write one for each clip.")
    return PromptFile(lines=lines, problems=problems)


def _line(table: object, number: int, options: Options) -> PromptLine:
    """What one table asks for. Raises ValueError."""
    if not isinstance(table, Mapping):
        raise ValueError("is no table of settings. Write keys and values, prompt among them.")
    values: dict[str, Value] = {}
    also: dict[str, Value] = {}
    said_by: dict[str, str] = {}
    for name, value in table.items():
        if value is None:
            continue
        option = _option(name, options)
        if option.sets in said_by:
            raise ValueError(f"{said_by[option.sets]} and {name}: {option.sets} is given twice. Keep one.")
        said_by[option.sets] = name
        values[option.sets] = [value] if option.is_list and not isinstance(value, list) else value
        also |= option.also
    prompt = values.pop("prompt", "")
    if not isinstance(prompt, str) or not (prompt.strip() or any(options[name].is_prompt for name in values)):
        raise ValueError("there is no prompt. Write one, as text.")
    return PromptLine(prompt=prompt, overrides={**also, **values}, line=number)


def _option(name: str, options: Options) -> PromptOption:
    """What a key sets. Raises ValueError for one that nobody knows, or that cannot be used."""
    if name == "guidance_scale" and _DISTILLED in options:
        raise ValueError(_AMBIGUOUS)
    option = options.get(_OTHER_NAMES.get(name, name))
    if option is None:
        words = [*_OTHER_NAMES, *options]
        raise ValueError(f"{name}: unknown key. {suggestion(name, words)}")
    if option.refusal:
        raise ValueError(f"{name}: {option.refusal}")
    return option


def _tables_of_toml(path: Path) -> list[object]:
    """Those of [[prompt.subset]] over what [prompt] says for all, or [prompt] alone. Raises ConfigError."""
    prompt = read_toml(path).get("prompt")
    if not isinstance(prompt, dict):
        raise ConfigError(
            f"{path}: has no table [prompt]. Write one, with a [[prompt.subset]] for each prompt."
        )
    shared = {name: value for name, value in prompt.items() if name != "subset"}
    subset: Any = prompt.get("subset", [{}])
    if not isinstance(subset, list):
        raise ConfigError(f"{path}: prompt.subset: is no list. Write [[prompt.subset]] for each prompt.")
    return [{**shared, **each} if isinstance(each, dict) else each for each in subset]


def _tables_of_json(path: Path) -> list[object]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise cannot_read(path, error) from error
    except ValueError as error:
        raise ConfigError(f"{path}: is not valid JSON in UTF-8: {error}.") from error
    if isinstance(content, dict):
        content = content.get("data")
    if not isinstance(content, list):
        raise ConfigError(
            f'{path}: is no list of prompts. Write [{{"prompt": ...}}, ...] or {{"data": [...]}}.'
        )
    return content
