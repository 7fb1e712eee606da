"""Clips as a player would show them: times, turns, colors, and what is not whole."""

import math
import re
import tracemalloc
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from reelwright.core.errors import FileError
from reelwright.media.video_reader import probe_video, read_video, stream_video

from .drawn_clips import gray_pictures, level, make_clip, numbers_in, on_screen

LOSSLESS = {"codec": "libx264", "options": {"qp": "0"}}


def test_without_a_rate_every_frame_comes_in_order(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", gray_pictures(40))
    video = read_video(clip)
    assert video.dtype == torch.uint8
    assert video.shape == (40, 16, 32, 3)
    assert numbers_in(video) == list(range(40))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize(
    ("own", "asked"), [(30, 15), (30, 16), (30, 24), (8, 24), (10, 7.5), (25, 25), (24, 1)]
)
def test_resampling_shows_what_a_viewer_sees_at_each_moment(tmp_path, suffix, own, asked):
    clip = make_clip(tmp_path / f"a{suffix}", gray_pictures(30), fps=own)
    starts = [Fraction(number, own) for number in range(30)]
    assert numbers_in(read_video(clip, fps=asked)) == on_screen(starts, Fraction(30, own), asked)


@pytest.mark.parametrize("asked", [5, 8, 16, 50])
@pytest.mark.parametrize("seed", range(4))
def test_a_variable_rate_is_read_by_timestamps(tmp_path, asked, seed):
    # One millisecond past multiples of five: never on a moment asked for, where rounding would decide.
    gaps = np.random.default_rng(seed).integers(3, 80, 20)
    times = [0, *(np.cumsum(gaps) * 5 + 1).tolist()]
    clip = make_clip(tmp_path / "a.mkv", gray_pictures(21), milliseconds=times)
    last = av.open(str(clip)).streams.video[0]
    end = Fraction(times[-1], 1000) + 1 / last.guessed_rate
    starts = [Fraction(time, 1000) for time in times]
    found = numbers_in(read_video(clip, fps=asked))
    expected = on_screen(starts, end, asked)
    # How long the very last frame stays is the container's guess.
    tail = expected.count(20)
    assert found[: len(expected) - tail] == expected[: len(expected) - tail]
    assert set(found[len(expected) - tail :]) <= {20}


def test_a_clip_that_starts_late_is_read_from_its_first_frame(tmp_path):
    times = [5000 + 100 * number for number in range(10)]
    clip = make_clip(tmp_path / "a.mkv", gray_pictures(10), milliseconds=times)
    assert numbers_in(read_video(clip, fps=10)) == list(range(10))


def test_a_raw_stream_without_timestamps_is_read_at_its_rate(tmp_path):
    clip = make_clip(tmp_path / "a.h264", gray_pictures(20), fps=10)
    assert numbers_in(read_video(clip)) == list(range(20))
    assert numbers_in(read_video(clip, fps=5)) == list(range(0, 20, 2))


def quadrants(width=48, height=32):
    """Red, green over blue, white: tells all turns and mirrorings apart."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = (220, 30, 30)
    picture[: height // 2, width // 2 :] = (30, 200, 30)
    picture[height // 2 :, : width // 2] = (30, 30, 220)
    picture[height // 2 :, width // 2 :] = 230
    return picture


def assert_close(found, expected, tolerance):
    """Mean difference, because codecs soften edges."""
    assert found.shape == expected.shape
    assert np.abs(found.astype(float) - expected.astype(float)).mean() <= tolerance


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_the_display_matrix_is_obeyed(tmp_path, turns, is_mirrored):
    # FFmpeg turns counterclockwise first, then mirrors.
    rotation = (90 * turns, is_mirrored, False)
    clip = make_clip(tmp_path / "a.mp4", [quadrants()] * 3, rotation=rotation, **LOSSLESS)
    turned = np.rot90(quadrants(), turns)
    expected = np.fliplr(turned) if is_mirrored else turned
    assert_close(read_video(clip)[0].numpy(), expected, 2)
    info = probe_video(clip)
    assert (info.height, info.width) == expected.shape[:2]
    if not is_mirrored:
        assert info.rotation == 90 * turns


def test_a_size_asked_for_is_that_of_the_upright_picture(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", [quadrants()] * 3, rotation=(90,), **LOSSLESS)
    expected = Image.fromarray(np.ascontiguousarray(np.rot90(quadrants()))).resize((64, 80))
    assert_close(read_video(clip, size=(64, 80))[0].numpy(), np.asarray(expected), 4)


@pytest.mark.parametrize(
    ("suffix", "codec", "pixel_format"),
    [
        (".mp4", "libx264", "yuv420p"),
        (".mp4", "libx264", "yuvj420p"),
        (".mp4", "libx264", "yuv422p"),
        (".mkv", "libx264", "yuv420p10le"),
        (".mov", "prores_ks", "yuv422p10le"),
        (".avi", "mjpeg", "yuvj422p"),
        (".avi", "rawvideo", "bgr24"),
        (".mov", "rawvideo", "rgb24"),
        (".mkv", "libx264rgb", "rgb24"),
        (".mkv", "ffv1", "yuv444p16le"),
        (".mkv", "ffv1", "yuv410p"),
        (".webm", "libvpx-vp9", "yuv420p"),
        (".mov", "png", "rgb48be"),
        (".mov", "qtrle", "rgb24"),
    ],
)
def test_colors_survive_every_pixel_format(tmp_path, suffix, codec, pixel_format):
    pictures = [quadrants(64, 64)] * 3
    clip = make_clip(tmp_path / f"a{suffix}", pictures, codec=codec, pixel_format=pixel_format)
    found = read_video(clip)[1].numpy()
    for y, x in ((16, 16), (16, 48), (48, 16), (48, 48)):
        block = found[y - 4 : y + 4, x - 4 : x + 4].reshape(-1, 3).mean(0)
        assert np.abs(block - quadrants(64, 64)[y, x]).max() <= 5


@pytest.mark.parametrize("pixel_format", ["gray", "gray10le"])
def test_gray_clips_become_rgb(tmp_path, pixel_format):
    clip = make_clip(tmp_path / "a.mkv", gray_pictures(5), codec="ffv1", pixel_format=pixel_format)
    assert numbers_in(read_video(clip)) == list(range(5))


@pytest.mark.parametrize(
    ("codec", "pixel_format"), [("png", "rgba"), ("qtrle", "argb"), ("prores_ks", "yuva444p10le")]
)
def test_alpha_is_laid_over_white(tmp_path, codec, pixel_format):
    picture = np.zeros((32, 48, 4), np.uint8)
    picture[..., 0] = 200
    picture[:, :16, 3], picture[:, 16:32, 3], picture[:, 32:, 3] = 0, 128, 255
    clip = make_clip(tmp_path / "a.mov", [picture] * 2, codec=codec, pixel_format=pixel_format)
    found = read_video(clip)[0].numpy().astype(int)
    for x, expected in ((8, (255, 255, 255)), (24, (227, 127, 127)), (40, (200, 0, 0))):
        assert np.abs(found[16, x] - expected).max() <= 5


def test_an_animated_gif_is_read_with_its_timing_and_transparency(tmp_path):
    palette_images = [Image.new("RGBA", (33, 21), (0, 0, 0, 0)) for _ in range(4)]
    for number, image in enumerate(palette_images):
        image.paste((level(number),) * 3 + (255,), (4, 4, 20, 20))
    clip = tmp_path / "a.gif"
    first, *others = palette_images
    first.save(clip, save_all=True, append_images=others, duration=[100, 50, 200, 100], disposal=2)
    video = read_video(clip, fps=20)
    assert video.shape[1:] == (21, 33, 3)
    assert numbers_in(video[:, 6:18, 6:18]) == [0, 0, 1, 2, 2, 2, 2, 3, 3]
    assert (video[:, 0, 0] == 255).all()


def test_odd_sizes_keep_every_pixel(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)
    clip = make_clip(tmp_path / "a.mov", [noise], codec="png", pixel_format="rgb24")
    assert (read_video(clip)[0].numpy() == noise).all()


def test_pixels_that_are_not_square_are_made_so(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", [quadrants(40, 32)] * 2, sample_aspect_ratio=Fraction(3, 2))
    assert read_video(clip).shape == (2, 32, 60, 3)
    assert (probe_video(clip).width, probe_video(clip).height) == (60, 32)


def test_reference_white_of_an_hdr_clip_is_white(tmp_path):
    # 58 % of the PQ signal are 203 nits, the white of ITU-R BT.2408; middle gray lies far below.
    pictures = [np.full((32, 32, 3), round(255 * signal), np.uint8) for signal in (0.58, 0.36)]
    facts = {"color_trc": 16, "color_primaries": 9, "colorspace": 9}
    clip = make_clip(tmp_path / "a.mkv", pictures, codec="libx265", pixel_format="yuv420p10le", **facts)
    white, gray = read_video(clip).float().mean((1, 2, 3)).tolist()
    assert white > 245
    assert 60 < gray < 160


def test_reading_stops_after_the_frames_asked_for(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", gray_pictures(40))
    assert numbers_in(read_video(clip, max_frames=7)) == list(range(7))
    assert numbers_in(read_video(clip, fps=5, max_frames=7)) == list(range(0, 14, 2))
    assert numbers_in(list(stream_video(clip, max_frames=3))) == [0, 1, 2]


@pytest.mark.parametrize("arguments", [{"fps": 0.0}, {"fps": math.nan}, {"max_frames": 0}])
def test_senseless_arguments_are_refused(tmp_path, arguments):
    clip = make_clip(tmp_path / "a.mp4", gray_pictures(2))
    with pytest.raises(ValueError, match=next(iter(arguments))):
        read_video(clip, **arguments)


def test_memory_is_that_of_the_frames_kept(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", gray_pictures(2, 256, 256) * 100, pixel_format="yuv420p")
    tracemalloc.start()
    video = read_video(clip)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert video.numel() == 200 * 256 * 256 * 3
    assert peak < 1.25 * video.numel()


def test_probing_tells_size_rate_and_length(tmp_path):
    clip = make_clip(tmp_path / "a.mp4", gray_pictures(45), fps=Fraction(30000, 1001))
    info = probe_video(clip)
    assert (info.path, info.width, info.height, info.num_frames, info.rotation) == (clip, 32, 16, 45, 0)
    assert info.fps == pytest.approx(30000 / 1001, rel=1e-4)
    assert info.duration == pytest.approx(45 * 1001 / 30000, rel=1e-4)


def test_probing_a_variable_rate_tells_the_mean(tmp_path):
    times = [0, 100, 500, 600, 1900]
    info = probe_video(make_clip(tmp_path / "a.mkv", gray_pictures(5), milliseconds=times))
    assert info.num_frames == 5
    assert 1.9 < info.duration < 2.1


def test_probing_a_stream_without_an_index_counts_its_frames(tmp_path):
    info = probe_video(make_clip(tmp_path / "a.h264", gray_pictures(20), fps=10))
    assert (info.num_frames, info.fps) == (20, pytest.approx(10))


def noise_clip(path, count=40, **options):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(count)]
    return make_clip(path, pictures, pixel_format="yuv420p", **options)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".flv"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_clip_cut_short_names_the_frames_that_can_be_read(tmp_path, suffix, kept):
    clip = noise_clip(tmp_path / f"a{suffix}", codec="mpeg4" if suffix == ".avi" else "libx264")
    content = clip.read_bytes()
    clip.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(FileError) as caught:
        read_video(clip)
    assert str(clip) in str(caught.value)
    readable = int(re.search(r"only (\d+) frames", str(caught.value)).group(1))
    assert 1 <= readable < 40
    assert len(read_video(clip, max_frames=readable)) == readable


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_a_clip_damaged_in_the_middle_is_a_file_error(tmp_path, suffix):
    clip = noise_clip(tmp_path / f"a{suffix}")
    content = bytearray(clip.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    clip.write_bytes(content)
    with pytest.raises(FileError, match=r"only \d+ frames"):
        read_video(clip)


def test_frames_before_the_damage_can_still_be_read(tmp_path):
    clip = noise_clip(tmp_path / "a.mp4")
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) // 2])
    assert len(read_video(clip, max_frames=5)) == 5


def test_probing_a_clip_cut_short_is_a_file_error(tmp_path):
    clip = noise_clip(tmp_path / "a.mp4")
    clip.write_bytes(clip.read_bytes()[:-9000])
    with pytest.raises(FileError, match="cut short"):
        probe_video(clip)


def write_sound(path):
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac" if path.suffix == ".m4a" else "libmp3lame", rate=44100)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        samples.sample_rate = 44100
        container.mux(sound.encode(samples))
        container.mux(sound.encode())


def test_sound_without_pictures_is_not_a_video(tmp_path):
    write_sound(tmp_path / "a.m4a")
    with pytest.raises(FileError, match="no video track"):
        read_video(tmp_path / "a.m4a")


def test_the_cover_of_an_album_is_not_a_video(tmp_path):
    write_still(tmp_path / "cover.png")
    cover_bytes = (tmp_path / "cover.png").read_bytes()
    write_sound(tmp_path / "a.m4a")
    with (
        av.open(str(tmp_path / "a.m4a")) as sound,
        av.open(str(tmp_path / "b.m4a"), "w", format="mp4") as album,
    ):
        copied = album.add_stream_from_template(sound.streams.audio[0])
        picture = album.add_stream("png", rate=1)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "rgb24"
        picture.disposition = av.stream.Disposition.attached_pic
        album.start_encoding()
        for packet in sound.demux(audio=0):
            if packet.size:
                packet.stream = copied
                album.mux(packet)
        packet = av.Packet(cover_bytes)
        packet.stream = picture
        album.mux(packet)
    with pytest.raises(FileError, match="no video track"):
        read_video(tmp_path / "b.m4a")


def test_a_clip_whose_sound_outlasts_its_pictures_is_whole(tmp_path):
    clip = tmp_path / "a.mkv"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv444p"
        sound = container.add_stream("aac", rate=44100)
        for picture in gray_pictures(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
        silence = np.zeros((1, 44100 * 4), np.float32)
        samples = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        samples.sample_rate = 44100
        container.mux(sound.encode(samples))
        container.mux(sound.encode())
    assert numbers_in(read_video(clip)) == list(range(5))


def write_still(path):
    Image.new("RGB", (64, 48), "red").save(path)


def write_headers_only(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        container.start_encoding()


def write_playlist(path):
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n/etc/hostname\n#EXT-X-ENDLIST\n")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("missing.mp4", lambda path: None),
        ("folder.mp4", lambda path: path.mkdir()),
        ("empty.mp4", lambda path: path.touch()),
        ("text.txt", lambda path: path.write_text("hello world\n" * 200)),
        ("text.mp4", lambda path: path.write_text("hello world\n" * 200)),
        ("noise.mp4", lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000))),
        ("still.png", write_still),
        ("still.jpg", write_still),
        ("no-frames.mp4", write_headers_only),
        ("no-frames.mkv", write_headers_only),
        ("no-index.mp4", lambda path: path.write_bytes(b"\0\0\0\x20ftypisom" + bytes(500))),
        ("list.m3u8", write_playlist),
        ("animated.webp", write_still),
    ],
)
@pytest.mark.parametrize("use", [read_video, probe_video])
def test_what_is_not_a_clip_is_a_file_error_that_names_it(tmp_path, name, write, use):
    write(tmp_path / name)
    with pytest.raises(FileError) as caught:
        use(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert len(re.findall(r"[.!?](?: |$)", str(caught.value))) >= 2, "says what, and what to do"


def test_a_colon_in_a_file_name_is_just_a_character(tmp_path):
    clip = make_clip(tmp_path / "plain.mp4", gray_pictures(3))
    assert len(read_video(clip.rename(tmp_path / "a: b%03d.mp4"))) == 3
