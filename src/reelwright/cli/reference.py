"""Write the reference pages of docs/ from the schemas of the command lines.

python -m reelwright.cli.reference docs/reference
"""

import inspect
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import tyro

from reelwright import families
from reelwright.cli import cache, dataset
from reelwright.cli.comfy import LINES as COMFY_LINES
from reelwright.cli.curves import CurvesLine
from reelwright.cli.doctor import DoctorLine
from reelwright.cli.evaluate import EvaluateLine
from reelwright.cli.generate import GenerateLine
from reelwright.cli.queue_lines import LINES as QUEUE_LINES
from reelwright.cli.replay import ReplayLine
from reelwright.cli.resume import ResumeLine
from reelwright.core.config import field_docs
from reelwright.core.schema_fields import describe
from reelwright.jobs.schemas import AUTOENCODER, DENOISER, ENCODERS, train_schema
from reelwright.protocols.bench_config import BenchConfig
from reelwright.protocols.cache_configs import CachePruneConfig, CacheTask, CacheVerifyConfig
from reelwright.protocols.datasets import DatasetConfig, GeneralKeys
from reelwright.protocols.lora_configs import LORA_ACTIONS
from reelwright.protocols.models_configs import MODELS_ACTIONS
from reelwright.protocols.plan_config import PlanConfig
from reelwright.protocols.studio_config import StudioConfig

_ORIGIN = "Written from the schema by `python -m reelwright.cli.reference docs/reference`."
_HEAD = ("| flag | default | meaning |", "|---|---|---|")
_KEYS_HEAD = ("| key | default | meaning |", "|---|---|---|")
_COMMANDS: Mapping[str, type] = {
    "replay": ReplayLine,
    "resume": ResumeLine,
    **{f"lora {action}": schema for action, schema in LORA_ACTIONS.items()},
    **{f"models {action}": schema for action, schema in MODELS_ACTIONS.items()},
    **{f"dataset {action}": schema for action, schema in dataset.LINES.items()},
    "plan": PlanConfig,
    "curves": CurvesLine,
    "evaluate": EvaluateLine,
    "doctor": DoctorLine,
    "studio": StudioConfig,
    **{f"queue {action}": schema for action, schema in QUEUE_LINES.items()},
    **{f"comfy {action}": schema for action, schema in COMFY_LINES.items()},
    "bench": BenchConfig,
    "cache verify": CacheVerifyConfig,
    "cache prune": CachePruneConfig,
    "cache stats": CacheTask,
}
"""Those that are the same for all families."""


def reference_pages() -> dict[str, str]:
    """The text of every page in Markdown, by the name of its file."""
    names = families.names()
    return {
        **{f"generate-{family}.md": _generate_page(family) for family in names},
        **{f"cache-{family}.md": _cache_page(family) for family in names},
        **{f"train-{family}.md": _train_page(family) for family in names},
        "dataset-file.md": _dataset_page(),
        "other-commands.md": _other_commands_page(),
    }


def _generate_page(family: str) -> str:
    """Every flag of `generate FAMILY` with its default and meaning."""
    text = _command_page("generate", family, families.configs(family).GENERATE)
    text += ["", "On the command line alone:", "", *_HEAD, *_rows_of_schema(GenerateLine)]
    return "\n".join(text) + "\n"


def _train_page(family: str) -> str:
    """Every flag of `train FAMILY`, then those of its other stages."""
    text = _command_page("train", family, train_schema(family, DENOISER, _ORIGIN))
    for stage in (AUTOENCODER, ENCODERS):
        schema = train_schema(family, stage, _ORIGIN)
        title = f"## reelwright train {family} --stage {stage}"
        text += ["", title, "", str(inspect.getdoc(schema)), "", *_HEAD, *_rows(schema)]
    return "\n".join(text) + "\n"


def _command_page(command: str, family: str, schema: type) -> list[str]:
    """The lines of a page with every flag of a schema."""
    return [
        f"# reelwright {command} {family}",
        "",
        str(inspect.getdoc(schema)),
        "",
        _ORIGIN,
        "In a recipe a flag is its key with underscores; `--execution.device` is `device` in `[execution]`.",
        "",
        *_HEAD,
        *_rows(schema),
    ]


def _cache_page(family: str) -> str:
    """Every flag of `cache latents FAMILY` and `cache text FAMILY`."""
    text = [f"# reelwright cache latents {family}, cache text {family}", "", _ORIGIN]
    for verb in ("latents", "text"):
        schema = cache.VERBS[verb].schema(family)
        text += ["", f"## reelwright cache {verb} {family}", "", str(inspect.getdoc(schema)), ""]
        text += [*_HEAD, *_rows(schema)]
    return "\n".join(text) + "\n"


def _dataset_page() -> str:
    """Every key of a file of data sets, those that single families know too."""
    text = ["# The file of data sets", "", _ORIGIN, "", "## In `[general]` and in `[[datasets]]`", ""]
    text += [*_KEYS_HEAD, *_key_rows(GeneralKeys)]
    shared = {field.name for field in fields(GeneralKeys)}
    text += ["", "## In `[[datasets]]` alone", "", *_KEYS_HEAD, *_key_rows(DatasetConfig, leave_out=shared)]
    for family in families.names():
        if rows := list(_key_rows(families.configs(family).DATASET_KEYS)):
            text += ["", f"## In `[[datasets]]`, for {family}", "", *_KEYS_HEAD, *rows]
    return "\n".join(text) + "\n"


def _other_commands_page() -> str:
    title = (
        "# reelwright replay, resume, lora, models, dataset, plan, curves, evaluate, doctor, studio, queue,"
        " comfy, bench, cache verify, prune and stats"
    )
    text = [title, "", _ORIGIN]
    for command, schema in _COMMANDS.items():
        about = inspect.getdoc(schema) or ""
        text += ["", f"## reelwright {command}", "", about, "", *_HEAD, *_rows_of_schema(schema)]
        text += _rows_of_groups(schema)
    return "\n".join(text) + "\n"


def _rows(schema: type) -> Iterator[str]:
    """Of all flags of a schema."""
    for facts in describe(schema):
        if facts.kind == "group":
            continue
        group = f"{_dashed(facts.group)}." if facts.group else ""
        yield _row(_flag(facts.name, facts.default, group), facts.default, facts.about)
        if facts.items == "group" and facts.schema is not None:
            prefix = f"{_dashed(facts.dotted)}.0."
            yield from (row.replace("| `", f"| `--{prefix}", 1) for row in _key_rows(facts.schema))


def _key_rows(schema: type, leave_out: Collection[str] = ()) -> Iterator[str]:
    """Of all keys of a table in a file."""
    docs = field_docs(schema)
    for field in fields(schema):
        if field.name not in leave_out and field.default_factory is MISSING:
            value = "" if field.default in ((), MISSING) else field.default
            yield _row(field.name, value, docs[field.name])


def _rows_of_schema(schema: type) -> Iterator[str]:
    """Of all words and flags of a command line, without the groups in it."""
    docs, hints = field_docs(schema), get_type_hints(schema, include_extras=True)
    for field in fields(schema):
        if field.name in docs:
            value = field.default
            name = _word(get_args(hints[field.name])) or _flag(field.name, value)
            yield _row(name, "" if value in (MISSING, ()) else value, docs[field.name])


def _rows_of_groups(schema: type) -> Iterator[str]:
    """Of the flags in the groups of a command line that have defaults."""
    for field in fields(schema):
        if field.default_factory is not MISSING:
            yield from _rows(type(field.default_factory()))


def _word(hint: Sequence[Any]) -> str:
    """What the help calls a word that has its place on the command line; empty for a flag."""
    if tyro.conf.Positional not in hint:
        return ""
    return next(metavar for part in hint if (metavar := getattr(part, "metavar", None)))


def _row(name: str, value: object, doc: str) -> str:
    meaning = " ".join(doc.split()).replace("|", "\\|")
    return f"| `{name}` | {_default(value)} | {meaning} |"


def _flag(name: str, value: object, group: str = "") -> str:
    return f"--{group}[no-]{_dashed(name)}" if isinstance(value, bool) else f"--{group}{_dashed(name)}"


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _default(value: object) -> str:
    if value is None or value == "":
        return ""
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value}`"


if __name__ == "__main__":
    for page, content in reference_pages().items():
        (Path(sys.argv[1]) / page).write_text(content, encoding="utf-8")
