"""What pages and REST share: the queue, who works on it, who answers questions, and the two folders."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from reelwright.core.errors import ConfigError, UserError
from reelwright.core.paths import check_writable
from reelwright.jobs.answers import AnsweringProcess
from reelwright.jobs.dispatcher import Dispatcher
from reelwright.jobs.order import Order
from reelwright.jobs.queue import Job, JobQueue, JobStateError
from reelwright.protocols.studio_config import StudioConfig
from reelwright.web.places import Places
from reelwright.web.uploads import Uploads


class Studio:
    """One studio, between `start` and `stop`. Jobs that run when it stops go on; the next one adopts them.

    runs: the folder of run folders, absolute, as jobs run elsewhere.
    """

    def __init__(self, config: StudioConfig) -> None:
        self.config = config
        self.runs: Path = config.runs.absolute()
        self.queue = JobQueue(config.queue.absolute())
        self.dispatcher = Dispatcher(self.queue, workers=config.workers, devices=config.devices)
        self.answers = AnsweringProcess()
        self.uploads = Uploads(
            config.queue.absolute() / "uploads",
            max_bytes=config.max_upload_mb * 10**6,
            make_room=self._make_room,
        )
        self.drafts: Callable[[], str] = str
        """What stands in forms that are not sent yet, with the paths in it; empty without pages."""
        closed = config.queue.absolute()
        self.places = Places(self.runs, self.uploads, tuple(config.folders), closed=closed)
        self.is_stopping = False

    def add(self, order: Order, *, title: str = "") -> Job:
        """Put an order from outside into the queue; "upload:ID" in it names an upload.

        Raises ConfigError with all that is wrong with it, and for paths that are not open to it.
        """
        return self.queue.add(self.places.settled(order), title=title)

    def edit(self, job: str, order: Order) -> Job:
        """Change what a job is to do, checked as by `add`."""
        return self.queue.edit(job, self.places.settled(order))

    def remove(self, job: str, *, files: bool) -> None:
        """Forget a job that does not run; with `files`, its run folder goes too, if it is one of `runs`."""
        run = self.queue.get(job).run
        if files and run is not None:
            self.places.check("run", run)
        self.queue.remove(job, files=files)

    def remove_upload(self, upload: str) -> None:
        """Remove an upload. Raises JobStateError where a job is going to use it."""
        path = str(self.uploads.get(upload).path)
        for job in self.queue.list(("queued", "running", "paused")):
            if path in _texts(job):
                raise JobStateError(f"upload {upload}: job {job.id} is going to use it. Cancel that first.")
        self.uploads.remove(upload)

    def check(self) -> None:
        """Raise ConfigError for one folder for all, FileError where one cannot be written or used."""
        if self.runs.resolve() == self.queue.folder.resolve():
            raise ConfigError(
                f"queue: {self.runs} is the folder of runs. Name another, such as one inside it."
            )
        check_writable(self.runs)
        check_writable(self.queue.folder)
        self.queue.revision()

    def start(self) -> None:
        """Make the folders, forget uploads that nobody uses, let the workers work."""
        self.runs.mkdir(parents=True, exist_ok=True)
        self.uploads.start()
        self._forget_uploads()
        if self.config.workers:
            self.dispatcher.start()

    def stop(self) -> None:
        """Take no new jobs; those that run are left alone."""
        self.is_stopping = True
        if self.config.workers:
            self.dispatcher.stop()
        self.answers.stop()

    def _make_room(self) -> None:
        """Forget old uploads as new ones come; where that cannot be done, the new one may still be taken."""
        with suppress(UserError):
            self._forget_uploads()

    def _forget_uploads(self) -> None:
        """Remove uploads that are old and that neither a job nor a form names."""
        if not self.config.keep_uploads_hours:
            return
        if old := self.uploads.older_than(3600.0 * self.config.keep_uploads_hours):
            named = "\n".join((*map(_texts, self.queue.list()), self.drafts()))
            for path in old:
                if str(path) not in named:
                    with suppress(OSError):
                        path.unlink(missing_ok=True)


def _texts(job: Job) -> str:
    """All that an order says, with the paths in it as they are."""
    return str((job.order.values, job.order.options))
