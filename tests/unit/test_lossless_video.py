"""Frames that go through a file without loss."""

from pathlib import Path

import torch

from reelwright.media.lossless_video import write_lossless
from reelwright.media.video_reader import probe_video, read_video


def test_frames_come_back_as_they_were_at_any_size_and_rate(tmp_path: Path):
    frames_FHWC = torch.randint(0, 256, (7, 17, 23, 3), dtype=torch.uint8)
    for fps in (8.0, 29.97, 30.0):
        path = tmp_path / f"{fps}.mp4"
        write_lossless(path, [frames_FHWC[:4], frames_FHWC[4:]], fps=fps)
        assert torch.equal(read_video(path), frames_FHWC)
        assert torch.equal(read_video(path, fps=fps), frames_FHWC)
        assert abs(probe_video(path).fps - fps) < 1e-3
