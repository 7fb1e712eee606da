"""What pages and REST share: the queue, who works on it, who answers questions, and the two folders."""

from pathlib import Path

from reelwright.jobs.answers import AnsweringProcess
from reelwright.jobs.dispatcher import Dispatcher
from reelwright.jobs.queue import JobQueue
from reelwright.protocols.studio_config import StudioConfig
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
        self.uploads = Uploads(config.queue.absolute() / "uploads", max_bytes=config.max_upload_mb * 10**6)

    def start(self) -> None:
        """Make the folders, forget uploads that nobody uses, let the workers work."""
        self.runs.mkdir(parents=True, exist_ok=True)
        self.uploads.start()
        if self.config.workers:
            self.dispatcher.start()

    def stop(self) -> None:
        """Take no new jobs; those that run are left alone."""
        if self.config.workers:
            self.dispatcher.stop()
        self.answers.stop()
