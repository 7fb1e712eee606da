"""One clip on several processes: each has frames that follow those of the process before.

The first process has the clip's first frame, which has a latent frame alone, and as many more frames as each
other has. Convolutions ask the process before for its last frames, norms put the moments of all together, and
attention asks for what came before. All of it has gradients: what was sent gets back the gradients of where
it was used, so that the sum over processes is the gradient of the sum of their losses. Where every process
makes the same loss of the gathered clip, the mean is that of one process, as data-parallel training takes it.
(context parallelism of arXiv 2408.06072, section 2.1, whose released code drops those gradients and gathers
activations for its norms)
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from reelwright.core.errors import ConfigError
from reelwright.nn.norms import GroupMoments, combine_moments, group_moments
from reelwright.nn.posterior import Posterior
from reelwright.protocols.autoencoder import Autoencoder


@dataclass(frozen=True, kw_only=True)
class TimeShare:
    """This process's part of clips that a group of processes works on.

    To layers it is the other parts (`OtherParts`). All processes call the same methods in the same order;
    a process sends and receives at once, so none waits for one that waits for it.
    """

    group: dist.ProcessGroup

    @property
    def rank(self) -> int:
        return self.group.rank()

    @property
    def num_parts(self) -> int:
        return self.group.size()

    def split(self, frames_BCFHW: Tensor, *, stride: int = 1) -> Tensor:
        """The part of a clip, or of its latents, that is this process's own.

        stride: how many frames share a latent frame. Raises ConfigError where parts would not be equal, or
        too short for what convolutions of the next part ask of them.
        """
        num_frames = frames_BCFHW.shape[2]
        if problem := sharing_problem(num_frames, self.num_parts, stride):
            raise ConfigError(problem)
        length = (num_frames - 1) // self.num_parts
        start, stop = self.rank * length + (self.rank > 0), (self.rank + 1) * length + 1
        return frames_BCFHW[:, :, start:stop].clone()

    def gather(self, frames_BCFHW: Tensor) -> Tensor:
        """The clip, of which each process has its own part."""
        return self._gather(frames_BCFHW, 2, self._lengths(frames_BCFHW.shape[2]))

    def frames_before(self, frames_BCFHW: Tensor, count: int) -> Tensor:
        is_last = self.rank == self.num_parts - 1
        receivers = [] if is_last else [self.rank + 1]
        lengths = {self.rank - 1: count} if self.rank else {}
        last = frames_BCFHW[:, :, max(frames_BCFHW.shape[2] - count, 0) :]
        received = _exchange(last, self.group, 2, receivers, lengths)
        copies = frames_BCFHW[:, :, :1].expand(-1, -1, count - received.shape[2], -1, -1)
        return torch.cat([received, copies], dim=2)

    def all_before(self, frames: Tensor, dim: int) -> Tensor:
        receivers = range(self.rank + 1, self.num_parts)
        lengths = dict(enumerate(self._lengths(frames.shape[dim])[: self.rank]))
        return torch.cat([_exchange(frames, self.group, dim, receivers, lengths), frames], dim)

    def moments(self, frames_BCFHW: Tensor, num_groups: int) -> GroupMoments:
        own = group_moments(frames_BCFHW, num_groups)
        num_frames = frames_BCFHW.shape[2]
        gathered = self._gather(torch.stack([own.mean, own.variance])[None], 0, [1] * self.num_parts)
        return combine_moments(
            [
                GroupMoments(num_values=own.num_values // num_frames * length, mean=mean, variance=variance)
                for length, (mean, variance) in zip(self._lengths(num_frames), gathered, strict=True)
            ]
        )

    def _lengths(self, own_length: int) -> list[int]:
        """How many frames each part has where this one has so many."""
        rest = own_length - (self.rank == 0)
        return [rest + 1] + [rest] * (self.num_parts - 1)

    def _gather(self, own: Tensor, dim: int, lengths: Sequence[int]) -> Tensor:
        others = {rank: length for rank, length in enumerate(lengths) if rank != self.rank}
        received = _exchange(own, self.group, dim, list(others), others)
        before = sum(lengths[: self.rank])
        earlier, later = received.split([before, received.shape[dim] - before], dim)
        return torch.cat([earlier, own, later], dim)


def sharing_problem(num_frames: int, num_parts: int, stride: int) -> str | None:
    """Why a clip cannot be shared out to so many processes, if so; `stride` frames share a latent frame."""
    unit = num_parts * stride
    # Parts before others are asked for their last two frames; the first part has a frame more.
    least = min(num_parts - 1, 2) * unit
    rest = num_frames - 1
    if rest % unit == 0 and rest >= least:
        return None
    nearest = max(round(rest / unit) * unit, least) + 1
    return (
        f"A clip of {num_frames} frames cannot be shared out to {num_parts} processes: it needs "
        f"a multiple of {unit}, at least {least}, and one. Nearest: {nearest} frames in all."
    )


def share_time(num_parts: int) -> TimeShare:
    """Let every `num_parts` processes in a row work on the same clips.

    Raises ConfigError where the number of processes cannot be shared out so.
    """
    num_processes = dist.get_world_size()
    if num_parts < 1 or num_processes % num_parts:
        raise ConfigError(
            f"Clips are shared out to {num_parts} processes each, but there are {num_processes} in all. "
            f"Start a multiple of {num_parts}."
        )
    group, _ = dist.new_subgroups(num_parts)
    assert isinstance(group, dist.ProcessGroup)
    return TimeShare(group=group)


@dataclass(frozen=True, kw_only=True)
class OverTime:
    """An autoencoder to which all processes of a group give the same clips, and each works on its part.

    What it gives is whole, on every process, and its norms see whole clips. A single frame is each process's
    own work.
    """

    autoencoder: Autoencoder
    share: TimeShare

    def encode(self, pixels_BCFHW: Tensor) -> Posterior:
        stride = self.autoencoder.temporal_stride
        return Posterior(self._run(self.autoencoder.encode_stream, pixels_BCFHW, stride))

    def decode(self, latents_BCTHW: Tensor) -> Tensor:
        return self._run(self.autoencoder.decode_stream, latents_BCTHW, 1)

    def _run(self, run: Callable[..., Iterator[Tensor]], clip_BCFHW: Tensor, stride: int) -> Tensor:
        if clip_BCFHW.shape[2] == 1:
            (result,) = run([clip_BCFHW])
            return result
        part = self.share.split(clip_BCFHW, stride=stride)
        (result,) = run([part], first_frame=self.share.rank == 0, others=self.share)
        return self.share.gather(result)


def average_gradients(parameters: Iterable[nn.Parameter], share: TimeShare) -> None:
    """Give every process the mean of the gradients of all."""
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad = _mean(parameter.grad, share)


def agree_on_gradient(parameter: nn.Parameter, share: TimeShare) -> None:
    """From now on its gradient is the mean over processes, wherever it is asked for.

    For whoever needs it before `average_gradients`, or what does the same, has been called.
    """
    parameter.register_hook(partial(_mean, share=share))


def _mean(gradient: Tensor, share: TimeShare) -> Tensor:
    total = gradient.clone()
    dist.all_reduce(total, group=share.group)
    return total / share.num_parts


def _exchange(
    own: Tensor, group: dist.ProcessGroup, dim: int, receivers: Sequence[int], lengths: Mapping[int, int]
) -> Tensor:
    """Send a tensor to the receivers, and return what came from others, one after another on axis `dim`.

    lengths: what to expect from whom, by rank; other axes are as of what is sent.
    """
    received: Tensor = _Exchange.apply(own, group, dim, receivers, lengths)  # pyright: ignore[reportAssignmentType]
    return received


class _Exchange(torch.autograd.Function):
    """A process that receives nothing gets an empty tensor: so it takes part when gradients come back."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch types it so
        own: Tensor,
        group: dist.ProcessGroup,
        dim: int,
        receivers: Sequence[int],
        lengths: Mapping[int, int],
    ) -> Tensor:
        ctx.group, ctx.dim, ctx.receivers, ctx.lengths, ctx.shape = group, dim, receivers, lengths, own.shape
        arriving = {rank: _room(own, dim, length) for rank, length in lengths.items()}
        _swap(group, dict.fromkeys(receivers, own), arriving)
        return torch.cat([_room(own, dim, 0), *arriving.values()], dim)

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401 - torch types it so
        *gradients: Tensor,
    ) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        parts = gradient.split(list(ctx.lengths.values()), ctx.dim)
        returned = {rank: gradient.new_empty(ctx.shape) for rank in ctx.receivers}
        _swap(ctx.group, dict(zip(ctx.lengths, parts, strict=True)), returned)
        total = sum(returned.values(), start=gradient.new_zeros(ctx.shape))
        return total, None, None, None, None


def _room(like: Tensor, dim: int, length: int) -> Tensor:
    shape = list(like.shape)
    shape[dim] = length
    return like.new_empty(shape)


def _swap(group: dist.ProcessGroup, leaving: Mapping[int, Tensor], arriving: Mapping[int, Tensor]) -> None:
    """Send and receive, to and from ranks, all at once."""
    operations = [
        *(dist.P2POp(dist.irecv, tensor, group=group, group_peer=rank) for rank, tensor in arriving.items()),
        *(
            dist.P2POp(dist.isend, tensor.contiguous(), group=group, group_peer=rank)
            for rank, tensor in leaving.items()
        ),
    ]
    if operations:
        for work in dist.batch_isend_irecv(operations):
            work.wait()
