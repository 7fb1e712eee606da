"""What a computation would take, found by running it on tensors that have sizes and no values.

The code that is metered is the code that runs: no second description of a network can fall behind it.
"""

import weakref
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.function import FunctionCtx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from reelwright.nn.attention import FullAttention

N = TypeVar("N", bound=nn.Module)

_LARGEST_OF_HEAP = 32 << 20
"""glibc maps and gives back larger blocks one by one."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What was seen while a meter was open."""

    peak: int
    """Most bytes of tensors that were alive at once, without those from before."""
    flops: float
    """Multiplications and additions of matrix products, convolutions and attention."""
    small: int = 0
    """Most bytes of tensors that a processor's allocator takes from its heap, which it does not give back."""
    large: int = 0
    """Most bytes of all others."""
    holes: int = 0
    """Bytes of the heap that blocks freed below what they left behind; `Meter.watch_holes` counts them."""
    learned: int = 0
    """Parameters that learn, where whoever measures tells it."""
    attention: int = 0
    """Bytes that an attention which writes down all its scores would take besides."""

    def plus(self, step: "Reading", times: int) -> "Reading":
        """With so many times what one block more takes."""
        return replace(
            self,
            peak=self.peak + times * step.peak,
            small=self.small + times * step.small,
            large=self.large + times * step.large,
            holes=self.holes + times * step.holes,
            learned=self.learned + times * step.learned,
            flops=self.flops + times * step.flops,
        )


@contextmanager
def imagining(device: torch.device) -> Generator[torch.device]:
    """Within, tensors on the device that is given take no memory.

    Those of a processor choose the ways that are for processors; all others are one to the networks here.
    """
    is_processor = device.type == "cpu"
    # Real tensors get in with tables of positions, whose numbers Python reads.
    mode: AbstractContextManager[object] = (
        FakeTensorMode(allow_non_fake_inputs=True) if is_processor else nullcontext()
    )
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a mode is that of one thread
    try:
        with mode:
            yield torch.device("cpu" if is_processor else "meta")
    finally:
        torch.set_num_threads(num_threads)


def imagine(
    build: Callable[[], N],
    device: torch.device,
    dtype: torch.dtype,
    keep_float32: Callable[[str], bool] = lambda _: False,
) -> N:
    """The network that `build` makes, frozen, with imagined weights; `device` is that of `imagining`."""
    with torch.device("meta"):
        network = build()
    for path, module in network.named_modules():
        for name, values in list(module.named_parameters(recurse=False)):
            kept = torch.float32 if keep_float32(f"{path}.{name}") else dtype
            empty = torch.empty(values.shape, dtype=kept, device=device)
            setattr(module, name, nn.Parameter(empty, requires_grad=False))
        for name, values in list(module.named_buffers(recurse=False)):
            kept = dtype if values.is_floating_point() else values.dtype
            setattr(module, name, torch.empty(values.shape, dtype=kept, device=device))
    return network.eval()


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Bytes of small tensors, of large ones, and of both where these are not of the same moment."""

    small: int
    large: int
    both: int

    @classmethod
    def of(cls, size: int) -> "Tally":
        """Of one tensor."""
        is_small = size < _LARGEST_OF_HEAP
        return cls(small=size if is_small else 0, large=0 if is_small else size, both=size)

    def plus(self, other: "Tally", times: int = 1) -> "Tally":
        return Tally(
            small=self.small + times * other.small,
            large=self.large + times * other.large,
            both=self.both + times * other.both,
        )

    def times(self, share: float) -> "Tally":
        return Tally(
            small=round(self.small * share), large=round(self.large * share), both=round(self.both * share)
        )

    def most(self, other: "Tally") -> "Tally":
        """The larger of each."""
        return Tally(
            small=max(self.small, other.small),
            large=max(self.large, other.large),
            both=max(self.both, other.both),
        )


_NOTHING = Tally(small=0, large=0, both=0)


class Meter(TorchDispatchMode):
    """Counts bytes and products while it is open; tensors that were there before it do not count."""

    def __init__(self, known: Iterable[nn.Module] = ()) -> None:
        """`known`: networks whose weights are counted elsewhere."""
        super().__init__()
        self._live, self._most = _NOTHING, _NOTHING
        self._flops = 0.0
        self._scores = self._holes = 0
        self._seen: weakref.WeakKeyDictionary[torch.UntypedStorage, int] = weakref.WeakKeyDictionary()
        for network in known:
            for tensor in (*network.parameters(), *network.buffers()):
                self._seen[tensor.untyped_storage()] = 0
            watch_attention(network, self)

    @property
    def reading(self) -> Reading:
        return Reading(
            peak=self._most.both,
            flops=self._flops,
            small=self._most.small,
            large=self._most.large,
            holes=self._holes,
            attention=self._scores,
        )

    def watch_holes(self, block: nn.Module) -> None:
        """Count what a block frees while it keeps something for the backward pass.

        What is kept lies above it in the heap and among it lie the records of operations, so the next block,
        whose tensors are as large, finds no room there and the heap grows.
        """
        forward = block.forward

        def noted(*inputs: object, **named: object) -> object:
            before = self.begin_part()
            try:
                return forward(*inputs, **named)
            finally:
                most, left, _ = self.end_part(before)
                self._holes += max(0, most.small - left.small)

        block.forward = noted

    def attend(self, query_BNLK: Tensor, key_BNLK: Tensor) -> None:
        """Two products for each pair of tokens."""
        pairs = query_BNLK.shape[0] * query_BNLK.shape[1] * query_BNLK.shape[2] * key_BNLK.shape[2]
        self._flops += 4.0 * pairs * query_BNLK.shape[3]
        self._scores = max(self._scores, 2 * pairs * query_BNLK.element_size())

    def begin_part(self) -> tuple[Tally, Tally, float]:
        """For `end_part`: what is in use, what was at most, and what was multiplied until now."""
        before = (self._live, self._most, self._flops)
        self._most = self._live
        return before

    def end_part(self, before: tuple[Tally, Tally, float]) -> tuple[Tally, Tally, float]:
        """What a part took at most, what is left of it, and its operations."""
        live, most, flops = before
        part = (self._most.plus(live, -1), self._live.plus(live, -1), self._flops - flops)
        self._most = self._most.most(most)
        return part

    def count_part(self, most: Tally, left: Tally, flops: float) -> None:
        """As if a part had run; what is left of it stays."""
        self._most = self._most.most(self._live.plus(most))
        self._live = self._live.plus(left)
        self._flops += flops

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - an operator of torch
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - what the operator gives
        named = dict(kwargs or {})
        result = func(*args, **named)
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self._add(value.untyped_storage())
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self._flops += float(count(*args, **named, out_val=result))
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        if storage in self._seen:
            return
        size = storage.nbytes()
        self._seen[storage] = size
        self._live = self._live.plus(Tally.of(size))
        self._most = self._most.most(self._live)
        weakref.finalize(storage, self._drop, size)

    def _drop(self, size: int) -> None:
        self._live = self._live.plus(Tally.of(size), -1)


def watch_attention(network: nn.Module, meter: Meter) -> None:
    """Have a network attend as a kernel does that writes down no scores; the meter is told of it."""

    def kernel(query_BNLK: Tensor, key_BNLK: Tensor, value_BNLK: Tensor) -> Tensor:
        meter.attend(query_BNLK, key_BNLK)
        attended = _Attention.apply(query_BNLK, key_BNLK, value_BNLK)
        assert isinstance(attended, Tensor)
        return attended

    for module in network.modules():
        if isinstance(module, FullAttention):
            module.kernel = kernel


class _Attention(torch.autograd.Function):
    """Sizes alone: what a fused kernel reads, writes and keeps for its gradients."""

    @staticmethod
    def forward(ctx: FunctionCtx, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        attended = torch.empty_like(query)
        sums = query.new_empty(query.shape[:3], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, attended, sums)
        return attended

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride] # noqa: ANN401
        query, key, value, _, _ = ctx.saved_tensors
        return tuple(torch.empty_like(each) for each in (query, key, value))


def metered_at(measure: Callable[[tuple[int, ...]], Reading], depths: tuple[int, ...]) -> Reading:
    """The reading of a network with stacks of so many blocks, from shallow ones where it is deep.

    All blocks of a stack are alike, so what each adds to a reading is, from the third on, the same.
    """
    shallow = tuple(min(depth, 2) for depth in depths)
    if sum(depths) - sum(shallow) <= len(depths):
        return measure(depths)
    first = measure(shallow)
    total = first
    for place, depth in enumerate(depths):
        if depth > shallow[place]:
            deeper = tuple(known + (index == place) for index, known in enumerate(shallow))
            more = measure(deeper)
            step = more.plus(first, -1)
            total = total.plus(step, depth - shallow[place])
    return total
