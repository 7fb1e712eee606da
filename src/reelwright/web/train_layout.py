"""Which fields of training stand open in a form, and how the others are folded away: by their groups."""

from collections.abc import Iterable
from typing import Any

from reelwright.core.schema_fields import FieldFacts, describe
from reelwright.web.form_layout import Fold, titled

DATA_OPEN = ("dataset", "model", "mode")
"""What decides which clips there are."""
TRAIN_OPEN = ("name", "method", "adapter.rank", "steps", "optimizer.learning_rate", "seed")
"""What matters in most trainings."""
TRAIN_WATCHED = ("samples.prompts", "samples.every_steps", "validation.dataset", "validation.every_steps")
"""By what one sees how it goes."""
NOT_ASKED = frozenset(("out", "run", "state", "stage", "show_timesteps"))
"""Where a job's files are is the queue's to say; a page trains, and shows curves of its own."""
_REST = "More"


def group_folds(schema: type[Any], said: Iterable[str]) -> tuple[Fold, ...]:
    """A fold for each group of a schema and one for what is in none, without the fields that are said
    elsewhere; lists of tables have no field in a form.
    """
    left_out = NOT_ASKED | set(said)
    folded: dict[str, list[FieldFacts]] = {}
    for each in describe(schema):
        if each.schema is None and each.dotted not in left_out:
            folded.setdefault(titled(each.group) if each.group else _REST, []).append(each)
    rest = folded.pop(_REST, [])
    ordered = {**folded, _REST: rest} if rest else folded
    return tuple(Fold(title, tuple(fields)) for title, fields in ordered.items())


def shared_values(values: dict[str, Any], schema: type[Any]) -> dict[str, Any]:
    """Of values of one schema those that another one knows too."""
    known = {each.dotted for each in describe(schema)}
    return _kept(values, known, "")


def _kept(values: dict[str, Any], known: set[str], group: str) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in values.items():
        dotted = f"{group}{name}"
        if dotted not in known:
            continue
        inner = _kept(value, known, f"{dotted}.") if isinstance(value, dict) else value
        if inner != {}:
            kept[name] = inner
    return kept
