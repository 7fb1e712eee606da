"""Weights on their way to the device, a little before they are needed: in a forward pass, and back.

All that has to do with streams and threads is in a carrier, so that the schedule is the same on any device.
"""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.autograd import Variable
from torch.autograd.graph import register_multi_grad_hook

from reelwright.checkpoint.rooms import Home, Room

_FORWARD, _BACKWARD = 1, -1
H = TypeVar("H", bound=Callable[..., None])


class Carrier(Protocol):
    """How weights come to the device."""

    def open(self, room: Room) -> None:
        """Take memory for a room."""
        ...

    def fill(self, room: Room, home: Home) -> None:
        """Have an open room filled, now or soon."""
        ...

    def wait(self, room: Room) -> None:
        """Let what is computed from now on find the room filled. Raises what filling it raised."""
        ...

    def leave(self, room: Room) -> None:
        """Touch the room no more: it is about to be closed."""
        ...


class PlainCarrier:
    """Copies at once."""

    def open(self, room: Room) -> None:
        room.open()

    def fill(self, room: Room, home: Home) -> None:
        home.fill(room)

    def wait(self, room: Room) -> None:
        pass

    def leave(self, room: Room) -> None:
        pass


class StreamCarrier:
    """Copies beside what a GPU computes.

    Rooms are opened by the stream that copies, and so take the memory that earlier ones gave back. What
    computed with those was told to the GPU before: the copy waits for it, and nothing else does.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._filled: dict[Room, Any] = {}

    def open(self, room: Room) -> None:
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            room.open()

    def fill(self, room: Room, home: Home) -> None:
        with torch.cuda.stream(self._stream):
            home.fill(room)
            self._filled[room] = self._stream.record_event()

    def wait(self, room: Room) -> None:
        torch.cuda.current_stream(self._device).wait_event(self._filled[room])

    def leave(self, room: Room) -> None:
        pass


class ReadingCarrier:
    """Fills rooms in a thread beside what is computed, in the order in which they are asked for.

    The thread is there only while a room is filled or in use.
    """

    def __init__(self, carrier: Carrier) -> None:
        """`carrier` is the one that does it."""
        self._carrier = carrier
        self._filling: dict[Room, Future[None]] = {}
        self._thread: ThreadPoolExecutor | None = None

    def open(self, room: Room) -> None:
        self._carrier.open(room)

    def fill(self, room: Room, home: Home) -> None:
        if self._thread is None:
            # One: what is read from a file goes through one buffer.
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="weights")
        self._filling[room] = self._thread.submit(self._carrier.fill, room, home)

    def wait(self, room: Room) -> None:
        self._filling[room].result()
        self._carrier.wait(room)

    def leave(self, room: Room) -> None:
        filling = self._filling.pop(room, None)
        if filling is not None and not filling.cancel():
            wait([filling])
        if self._thread is not None and not self._filling:
            self._thread.shutdown()
            self._thread = None
        self._carrier.leave(room)


def carrier_for(device: torch.device, homes: Iterable[Home]) -> Carrier:
    """How weights come to a device from homes that are of one kind or of several."""
    carrier = StreamCarrier(device) if device.type == "cuda" else PlainCarrier()
    return ReadingCarrier(carrier) if any(home.is_on_disk for home in homes) else carrier


class Lane:
    """Keeps open the room of the part that runs, and of the next one that has a room: never more."""

    def __init__(self, rooms: Mapping[int, tuple[Room, Home]], device: torch.device) -> None:
        """`rooms`: by the place of their parts in the order of running; other parts are always there."""
        self.carrier = carrier_for(device, [home for _, home in rooms.values()])
        self._rooms = rooms
        self._open: set[int] = set()
        self.clear()

    @property
    def open_places(self) -> frozenset[int]:
        return frozenset(self._open)

    def arrive(self, place: int, direction: int = _FORWARD) -> None:
        """The part at `place` runs next; `direction` says on which side of it the one after it is."""
        wanted = [place] if place in self._rooms else []
        ahead = [other for other in self._rooms if (other - place) * direction > 0]
        if ahead:
            wanted.append(min(ahead, key=lambda other: abs(other - place)))
        try:
            self._close(self._open.difference(wanted))
            for each in wanted:
                self._fetch(each)
            if place in self._rooms:
                self.carrier.wait(self._rooms[place][0])
        except BaseException:
            self.clear()
            raise

    def clear(self) -> None:
        """Close all rooms."""
        self._close(self._rooms)

    def _fetch(self, place: int) -> None:
        if place not in self._open:
            self._open.add(place)
            room, home = self._rooms[place]
            self.carrier.open(room)
            self.carrier.fill(room, home)

    def _close(self, places: Iterable[int]) -> None:
        for place in tuple(places):
            room, _ = self._rooms[place]
            self.carrier.leave(room)
            room.close()
            self._open.discard(place)


def run_along(lane: Lane, network: nn.Module, parts: Sequence[nn.Module]) -> None:
    """Have weights come when the parts of a network run, which they do in this order; and when gradients do.

    No room is open between passes, nor after an exception or Ctrl-C.
    """
    for place, part in enumerate(parts):
        part.register_forward_pre_hook(_arriving(lane, place))
        part.register_forward_hook(_returning(lane, place))
    network.forward = partial(_run_and_clear, lane, weakref.ref(network))


def _run_and_clear(
    lane: Lane, network: weakref.ref[nn.Module], /, *inputs: object, **named: object
) -> object:
    """The reference is a weak one so that a network is gone as soon as nobody else has it."""
    own = network()
    assert own is not None, "it is the one that is called"
    forward: Callable[..., object] = type(own).forward
    try:
        return forward(own, *inputs, **named)
    finally:
        lane.clear()


def _untraced(hook: H) -> H:
    """Where blocks are compiled, each is one graph, which this interrupts no more than is needed."""
    return cast(H, torch.compiler.disable(hook))


def _arriving(lane: Lane, place: int) -> Callable[..., None]:
    @_untraced
    def arrive(*_: object) -> None:
        lane.arrive(place)

    return arrive


def _returning(lane: Lane, place: int) -> Callable[..., None]:
    """A hook for what a part gives, whose gradient is the sign that it is asked for its own."""

    def arrive(_: Tensor) -> None:
        engine: Any = Variable._execution_engine  # pyright: ignore
        engine.queue_callback(lane.clear)
        lane.arrive(place, _BACKWARD)

    @_untraced
    def listen(_: nn.Module, __: object, given: object) -> None:
        if not torch.is_grad_enabled():
            return
        parts = cast(Sequence[object], given) if isinstance(given, (tuple, list)) else (given,)
        learning = [part for part in parts if isinstance(part, Tensor) and part.requires_grad]
        if learning:
            register_multi_grad_hook(learning, arrive, mode="any")

    return listen
