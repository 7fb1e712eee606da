"""What each picture and clip is, probed and hashed once and remembered until the file changes."""

import hashlib
from pathlib import Path

from reelwright.core.locations import stamp
from reelwright.core.paths import sha256_of
from reelwright.data.local_media import local_media
from reelwright.data.memory import Memory
from reelwright.media.image_ops import open_image
from reelwright.media.video_reader import probe_video
from reelwright.protocols.clips import MediaFacts, Source

# Rises when the same file would be told differently; what was remembered before is then probed anew.
_VERSION = 2


class MediaLedger:
    """A file that remembers MediaFacts. Threads and processes may share it."""

    def __init__(self, path: Path) -> None:
        self._memory = Memory(path, MediaFacts, version=_VERSION)

    def facts(self, source: Source) -> MediaFacts:
        """What the picture or clip of `source` is. Raises FileError for what cannot be read."""
        key, seen = f"{source.kind} {source.media}", stamp(source.media)
        found = self._memory.recall(key, seen)
        if found is not None:
            return found
        facts = probe(source)
        # What changed while it was read is told, but not remembered.
        if stamp(source.media) == seen:
            self._memory.remember(key, facts, seen)
        return facts

    def close(self) -> None:
        """Let go of the file; the ledger cannot be asked after that."""
        self._memory.close()


def probe(source: Source) -> MediaFacts:
    """Open a picture or clip and tell what it is; nothing is remembered. Raises FileError."""
    with local_media(source.media) as path:
        content = _content_of(path)
        if source.kind == "image":
            size = open_image(path).rgb.size
            return MediaFacts(size=size, num_frames=1, fps=0.0, duration=0.0, content=content)
        info = probe_video(path)
        return MediaFacts(
            size=(info.width, info.height),
            num_frames=info.num_frames,
            fps=info.fps,
            duration=info.duration,
            content=content,
        )


def _content_of(path: Path) -> str:
    """SHA-256 in hex of a file; of a folder, that of its files with their names."""
    if not path.is_dir():
        return sha256_of(path)
    digest = hashlib.sha256()
    for each in sorted(path.iterdir()):
        if each.is_file():
            digest.update(f"{each.name}\0{sha256_of(each)}\n".encode())
    return digest.hexdigest()
