"""Two-way maps between the tensor names of file layouts and the parameter names of our networks.

A map is data. Templates hold `{n}`-style placeholders for whole numbers and may end in `*`, which stands for
`weight`, `bias`, or `scale_weight` of weights in 8 bits:

    Rule("blocks.{n}.attention.query.*", "transformer_blocks.{n}.attn1.to_q.*")
    Rule("blocks.{n}.attention.query.*", "layers.{n}.query_key_value.*", parts=(0,), of=3)
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

import torch
from torch import Tensor

from reelwright.core.errors import CheckpointError


@dataclass(frozen=True)
class Rule:
    """One line of a map: our name, the file's name, and which rows of the file's tensor are ours."""

    ours: str
    file: str
    parts: tuple[int, ...] = (0,)
    """Our tensor is these chunks of the file's tensor along dimension 0, in this order."""
    of: int = 1
    """The number of equal chunks that the file's tensor is cut into."""


@dataclass(frozen=True)
class Located:
    """Where one of our tensors lies in a file: the tensor there, and which of its `of` chunks."""

    file_name: str
    parts: tuple[int, ...] = (0,)
    of: int = 1


@dataclass(frozen=True)
class Found:
    """Which of our tensors a tensor of a file holds, or holds a part of."""

    ours: str
    parts: tuple[int, ...]
    of: int


@dataclass(frozen=True, kw_only=True)
class KeyMap:
    """The layout of one kind of file, named as users know it.

    Raises ValueError, when used, if two rules claim one name.
    """

    name: str
    rules: tuple[Rule, ...]
    dropped: tuple[str, ...] = ()
    """Glob patterns of tensors in the file that a network may leave unused."""
    prefixes: tuple[str, ...] = ()
    """Beginnings that some programs put before every name; the first that fits is taken off."""

    def locate(self, our_name: str) -> Located | None:
        """Where the file keeps our tensor; None if this layout has no such tensor."""
        matches = [(rule, match) for rule in self._compiled if (match := rule.ours.fullmatch(our_name))]
        if len(matches) > 1:
            claims = ", ".join(rule.source.file for rule, _ in matches)
            raise ValueError(f"{self.name}: {our_name} is claimed by several rules: {claims}")
        if not matches:
            return None
        rule, match = matches[0]
        return Located(_fill(rule.source.file, match), rule.source.parts, rule.source.of)

    def find(self, file_name: str) -> list[Found]:
        """Our tensors that the file's tensor holds: one, several if it is cut, or none if it is unknown."""
        return [
            Found(_fill(rule.source.ours, match), rule.source.parts, rule.source.of)
            for rule in self._compiled
            if (match := rule.file.fullmatch(file_name))
        ]

    def drops(self, file_name: str) -> bool:
        return any(fnmatchcase(file_name, pattern) for pattern in self.dropped)

    def without_prefix(self, file_name: str) -> str:
        for prefix in self.prefixes:
            if file_name.startswith(prefix):
                return file_name.removeprefix(prefix)
        return file_name

    def to_ours(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A file's tensors under our names. Raises CheckpointError at a name that the layout lacks."""
        ours: dict[str, Tensor] = {}
        for raw_name, tensor in state.items():
            name = self.without_prefix(raw_name)
            found = self.find(name)
            if not found and not self.drops(name):
                raise CheckpointError(f"{raw_name} is not a tensor of the layout {self.name}.")
            for piece in found:
                if piece.ours in ours:
                    raise ValueError(
                        f"{self.name}: {piece.ours} is claimed by several tensors, one is {name}"
                    )
                ours[piece.ours] = take_parts(tensor, piece.parts, piece.of)
        return ours

    def to_file(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our tensors under the file's names. Raises ValueError at a name that the layout does not know."""
        chunks: defaultdict[str, dict[int, Tensor]] = defaultdict(dict)
        counts: dict[str, int] = {}
        for our_name, tensor in state.items():
            located = self.locate(our_name)
            if located is None:
                raise ValueError(f"{our_name} has no place in the layout {self.name}")
            counts[located.file_name] = located.of
            pieces = tensor.chunk(len(located.parts)) if located.of > 1 else (tensor,)
            chunks[located.file_name].update(zip(located.parts, pieces, strict=True))
        return {name: self._join(name, pieces, counts[name]) for name, pieces in chunks.items()}

    def _join(self, name: str, pieces: Mapping[int, Tensor], count: int) -> Tensor:
        missing = sorted(set(range(count)) - set(pieces))
        if missing:
            raise ValueError(f"{self.name}: the chunks {missing} of {name} are not given")
        return pieces[0] if count == 1 else torch.cat([pieces[part] for part in range(count)])

    @cached_property
    def _compiled(self) -> tuple["_CompiledRule", ...]:
        return tuple(_CompiledRule(rule, _pattern(rule.ours), _pattern(rule.file)) for rule in self.rules)


def same_names(templates: Iterable[str]) -> tuple[Rule, ...]:
    """Rules for tensors that are called in the file as they are by us."""
    return tuple(Rule(template, template) for template in templates)


def take_parts(tensor: Tensor, parts: tuple[int, ...], of: int) -> Tensor:
    """The chunks `parts` of the `of` equal chunks of a tensor along dimension 0, joined."""
    if of == 1:
        return tensor
    if tensor.shape[0] % of:
        raise CheckpointError(f"{tensor.shape[0]} rows cannot be cut into {of} equal chunks.")
    chunks = tensor.chunk(of)
    return torch.cat([chunks[part] for part in parts])


@dataclass(frozen=True)
class _CompiledRule:
    source: Rule
    ours: re.Pattern[str]
    file: re.Pattern[str]


def _pattern(template: str) -> re.Pattern[str]:
    pieces = re.split(r"(\{\w+\}|\*$)", template)
    return re.compile("".join(_piece_pattern(piece) for piece in pieces))


def _piece_pattern(piece: str) -> str:
    if piece == "*":
        return "(?P<leaf>weight|bias|scale_weight)"
    if piece.startswith("{"):
        return f"(?P<{piece[1:-1]}>0|[1-9][0-9]*)"
    return re.escape(piece)


def _fill(template: str, match: re.Match[str]) -> str:
    return template.replace("*", "{leaf}").format(**match.groupdict())
