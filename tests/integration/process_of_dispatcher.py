"""A dispatcher in a process of its own, until its input ends: QUEUE_FOLDER; its workers do toy jobs."""

import sys
from pathlib import Path

from reelwright.jobs.dispatcher import Dispatcher
from reelwright.jobs.queue import JobQueue

TOY_WORKER = (sys.executable, str(Path(__file__).with_name("process_of_toy_job.py")))

if __name__ == "__main__":
    dispatcher = Dispatcher(JobQueue(Path(sys.argv[1])), command=TOY_WORKER)
    dispatcher.start()
    sys.stdin.read()
    dispatcher.stop()
