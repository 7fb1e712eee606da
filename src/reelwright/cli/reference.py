"""Write the reference pages of docs/ from the configuration schemas.

python -m reelwright.cli.reference docs/reference
"""

import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from reelwright import families
from reelwright.core.config import field_docs


def reference_page(family: str) -> str:
    """Every flag of `generate FAMILY` with its default and meaning, in Markdown."""
    config = families.configs(family).GENERATE()
    head = [
        f"# reelwright generate {family}",
        "",
        f"{type(config).__doc__}",
        "",
        "Written from the schema by `python -m reelwright.cli.reference docs/reference`.",
        "In a recipe a flag is its key with underscores; `--execution.device` is `device` in `[execution]`.",
        "",
        "| flag | default | meaning |",
        "|---|---|---|",
    ]
    return "\n".join([*head, *_rows(config)]) + "\n"


def _rows(config: Any, group: str = "") -> Iterator[str]:  # noqa: ANN401 - any schema
    docs = field_docs(type(config))
    for field in fields(config):
        value = getattr(config, field.name)
        name = field.name.replace("_", "-")
        if is_dataclass(value):
            yield from _rows(value, f"{group}{name}.")
            continue
        flag = f"--{group}[no-]{name}" if isinstance(value, bool) else f"--{group}{name}"
        meaning = " ".join(docs[field.name].split()).replace("|", "\\|")
        yield f"| `{flag}` | {_default(value)} | {meaning} |"


def _default(value: object) -> str:
    if value is None or value == "":
        return ""
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value}`"


if __name__ == "__main__":
    for known in families.names():
        (Path(sys.argv[1]) / f"generate-{known}.md").write_text(reference_page(known), encoding="utf-8")
