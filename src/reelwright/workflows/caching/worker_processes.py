"""Orders spread over processes of this machine, of which any may be killed."""

import logging
import os
import signal
import threading
import traceback
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Literal

import torch

from reelwright.core.errors import UserError
from reelwright.workflows.caching.backlog import Attempt, Backlog
from reelwright.workflows.caching.encoding import encode_order
from reelwright.workflows.caching.orders import Order, Outcome

_logger = logging.getLogger(__name__)
_SECONDS_TO_LEAVE = 10.0
_spawning = get_context("spawn")  # a forked process may use neither threads nor GPUs of its parent


def run_in_processes(orders: Iterable[Order], devices: Sequence[str]) -> Generator[Outcome]:
    """Encode orders in a process for each of `devices`, and yield each item's outcome as it comes.

    A process that is killed costs the items that it has not reported: they are tried again in a new one. The
    processes end with this generator, and with this process, however it ends. Raises what else went wrong.
    """
    backlog, unused = Backlog(orders), list(devices)
    idle: list[_Worker] = []
    busy: dict[Connection, tuple[_Worker, Attempt]] = {}
    try:
        while True:
            while (idle or unused) and (attempt := backlog.take()) is not None:
                worker = idle.pop() if idle else _Worker(unused.pop(0), _threads_of_each(len(devices)))
                busy[worker.connection] = worker, attempt
                worker.give(attempt.order)
            if not busy:
                return
            for connection in [each for each in wait(list(busy)) if isinstance(each, Connection)]:
                worker, attempt = busy[connection]
                heard = worker.listen()
                if heard == "finished":
                    idle.append(busy.pop(connection)[0])
                elif heard == "lost":
                    unused.append(busy.pop(connection)[0].device)
                    yield from backlog.lose(attempt)
                else:
                    backlog.note(attempt, heard)
                    yield heard
    finally:
        for worker, _ in busy.values():
            worker.stop()
        for worker in (*idle, *(worker for worker, _ in busy.values())):
            worker.dismiss()


def on_device(order: Order, device: str) -> Order:
    """The order with another device to compute on."""
    execution = replace(order.config.execution, device=device)
    return replace(order, config=replace(order.config, execution=execution))


class _WorkerError(RuntimeError):
    """An error of a worker, which could not be sent as it was; and where in the worker it came from."""

    def __init__(self, message: str, trace: str) -> None:
        super().__init__(message, trace)
        self.trace = trace

    def __str__(self) -> str:
        return f"A worker failed: {self.args[0]}"


class _Worker:
    """A process that takes orders and reports each item, then the order's end."""

    def __init__(self, device: str, num_threads: int) -> None:
        self.device = device
        self.connection, theirs = _spawning.Pipe()
        self._process = _spawning.Process(target=_serve, args=(theirs, num_threads), daemon=True)
        with _interrupts_held_back():
            self._process.start()
        theirs.close()  # ours would be the only other end: without it the pipe ends with the process

    def give(self, order: Order) -> None:
        with suppress(OSError):  # if it is gone, the pipe says so to who listens
            self.connection.send(on_device(order, self.device))

    def listen(self) -> Outcome | Literal["finished", "lost"]:
        """What it says next. Raises what went wrong in it for all items."""
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            self.stop()
            self.dismiss()
            return "lost"
        if isinstance(message, _WorkerError):
            _logger.debug("a worker failed:\n%s", message.trace)
        if isinstance(message, Exception):
            raise message
        return message

    def stop(self) -> None:
        """Ask it to end where it is; it removes what it has half written."""
        self._process.terminate()

    def dismiss(self) -> None:
        """Wait until it has ended: for the want of orders, or because it was stopped."""
        self.connection.close()
        self._process.join(_SECONDS_TO_LEAVE)
        self._process.kill()
        self._process.join()


@contextmanager
def _interrupts_held_back() -> Generator[None]:
    """Ctrl-C in a terminal goes to every process in it. Those started here never see one: they are told."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _threads_of_each(num_processes: int) -> int:
    return max(torch.get_num_threads() // num_processes, 1)


def _serve(connection: Connection, num_threads: int) -> None:
    """Encode orders until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    torch.set_num_threads(num_threads)
    try:
        while True:
            for outcome in encode_order(connection.recv()):
                connection.send(outcome)
            connection.send("finished")
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # nobody listens any more
    except UserError as error:
        connection.send(error)
    except Exception as error:  # the edge of a process: what went wrong must not be lost with it
        _logger.debug("failed", exc_info=error)
        connection.send(_WorkerError(f"{type(error).__name__}: {error}", traceback.format_exc()))


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _leave_with_parent() -> None:
    """A killed parent can tell nobody to end."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
