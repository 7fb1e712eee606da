import io
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from reelwright.core.errors import FileError
from reelwright.media.image_ops import (
    fit_image,
    open_image,
    read_png_metadata,
    to_pixels,
    to_uint8,
    write_png,
)


def gradient(width=40, height=30):
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 6, y * 8, x + y], -1).astype(np.uint8))


def colors(path):
    return np.asarray(open_image(path).rgb).astype(int)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tiff", "a.ppm", "a.webp", "a.gif"])
def test_common_formats_open_as_they_were_saved(tmp_path, name):
    path = tmp_path / name
    image = gradient().quantize(64).convert("RGB")
    image.save(path, **({"lossless": True} if name.endswith("webp") else {}))
    opened = open_image(path)
    assert opened.rgb.mode == "RGB"
    assert opened.notices == ()
    assert (np.asarray(opened.rgb) == np.asarray(image)).all()


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_gray_and_palette_pictures_become_rgb(tmp_path, mode):
    image = gradient().convert(mode)
    image.save(tmp_path / "a.png")
    assert (colors(tmp_path / "a.png") == np.asarray(image.convert("RGB"))).all()


def test_sixteen_bit_gray_keeps_its_tones(tmp_path):
    levels = np.linspace(0, 65535, 256 * 4).astype(np.uint16).reshape(4, 256)
    Image.fromarray(levels).save(tmp_path / "a.png")
    assert np.abs(colors(tmp_path / "a.png")[..., 0] - levels / 257).max() <= 0.5
    assert any("16" in notice for notice in open_image(tmp_path / "a.png").notices)


def test_sixteen_bit_portable_graymap_keeps_its_tones(tmp_path):
    levels = np.arange(0, 65536, 256, dtype=">u2")
    (tmp_path / "a.pgm").write_bytes(b"P5 256 1 65535\n" + levels.tobytes())
    assert np.abs(colors(tmp_path / "a.pgm")[0, :, 0] - levels.astype(int) / 257).max() <= 0.5


def test_float_pictures_are_refused_because_their_white_is_unknown(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(FileError, match="8 or 16 bit"):
        open_image(tmp_path / "a.tiff")


def test_print_colors_become_rgb_with_a_notice(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    assert np.abs(colors(tmp_path / "a.jpg") - (255, 0, 0)).max() <= 3
    assert any("CMYK" in notice for notice in open_image(tmp_path / "a.jpg").notices)


def test_transparent_parts_are_laid_over_white_with_a_notice(tmp_path):
    image = Image.new("RGBA", (3, 1))
    for x, alpha in enumerate((0, 128, 255)):
        image.putpixel((x, 0), (255, 0, 0, alpha))
    image.save(tmp_path / "a.png")
    assert np.abs(colors(tmp_path / "a.png")[0] - [(255, 255, 255), (255, 127, 127), (255, 0, 0)]).max() <= 1
    assert any("white" in notice for notice in open_image(tmp_path / "a.png").notices)


def test_a_transparent_palette_color_is_laid_over_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png", transparency=0)
    assert colors(tmp_path / "a.png")[0].tolist() == [[255, 255, 255], [200, 0, 0]]


def test_an_alpha_channel_without_transparency_needs_no_notice(tmp_path):
    gradient().convert("RGBA").save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png").notices == ()
    assert (colors(tmp_path / "a.png") == np.asarray(gradient())).all()


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(3, lambda p: p[::-1, ::-1]), (6, lambda p: np.rot90(p, -1)), (8, np.rot90), (2, np.fliplr)],
)
def test_camera_orientation_is_applied_with_a_notice(tmp_path, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    gradient().save(tmp_path / "a.png", exif=exif)
    assert (colors(tmp_path / "a.png") == upright(np.asarray(gradient()))).all()
    assert any("upright" in notice for notice in open_image(tmp_path / "a.png").notices)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_of_several_frames_the_first_is_used_with_a_notice(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    assert (colors(path) == (255, 0, 0)).all()
    assert any("first" in notice for notice in open_image(path).notices)


def test_a_color_profile_does_not_hinder_opening(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    gradient().save(tmp_path / "a.png", icc_profile=profile)
    assert (colors(tmp_path / "a.png") == np.asarray(gradient())).all()


def encoded(suffix):
    content = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(content, suffix)
    return content.getvalue()


@pytest.mark.parametrize("suffix", ["png", "jpeg", "webp", "gif", "bmp", "tiff", "avif"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
def test_a_file_cut_short_is_a_file_error(tmp_path, suffix, kept):
    content = encoded(suffix)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(FileError) as caught:
        open_image(path)
    assert str(path) in str(caught.value)


@given(st.sampled_from(["png", "jpeg", "webp", "gif", "tiff"]), st.integers(0, 2000), st.binary(min_size=1))
def test_damage_anywhere_is_a_file_error_or_a_picture_but_never_a_crash(tmp_path_factory, suffix, at, junk):
    content = bytearray(encoded(suffix))
    content[at : at + len(junk)] = junk
    path = tmp_path_factory.mktemp("damaged") / f"a.{suffix}"
    path.write_bytes(content)
    try:
        assert open_image(path).rgb.mode == "RGB"
    except FileError as error:
        assert str(path) in str(error)


def png_of_size(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_a_decompression_bomb_is_refused_with_its_pixel_count_and_the_limit(tmp_path, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of_size(side, side))
    with pytest.raises(FileError, match=rf"{side * side} pixels.*limit of \d+"):
        open_image(path)


def test_a_picture_without_pixels_is_refused(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png_of_size(0, 5))
    with pytest.raises(FileError):
        open_image(path)


def test_what_is_not_a_picture_is_a_file_error_that_names_it(tmp_path):
    (tmp_path / "text.png").write_text("hello " * 100)
    (tmp_path / "empty.png").touch()
    (tmp_path / "drawing.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    for name in ("text.png", "empty.png", "drawing.eps", "missing.png", "."):
        with pytest.raises(FileError) as caught:
            open_image(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_stretching_is_lanczos_to_the_exact_size():
    expected = gradient().resize((64, 16), Image.Resampling.LANCZOS)
    assert (np.asarray(fit_image(gradient(), 64, 16, "stretch")) == np.asarray(expected)).all()


def test_cropping_cuts_the_sides_of_a_wide_picture_evenly():
    stripes = Image.new("RGB", (90, 30), "red")
    stripes.paste("lime", (30, 0, 60, 30))
    middle = np.asarray(fit_image(stripes, 30, 30, "crop"))
    assert (middle == (0, 255, 0)).all()


def test_padding_adds_black_bars_and_keeps_the_whole_picture():
    padded = np.asarray(fit_image(Image.new("RGB", (60, 30), "white"), 60, 60, "pad"))
    assert (padded[15:45] == 255).all()
    assert (padded[:15] == 0).all()
    assert (padded[45:] == 0).all()


@given(
    st.integers(1, 90), st.integers(1, 90), st.integers(1, 90), st.sampled_from(["crop", "stretch", "pad"])
)
def test_every_fit_gives_exactly_the_size_asked_for(source, width, height, fit):
    assert fit_image(gradient(source, 50), width, height, fit).size == (width, height)


def test_pixels_run_from_minus_one_to_one_with_channels_first():
    image = Image.new("RGB", (4, 2), (0, 255, 51))
    pixels = to_pixels(image)
    assert pixels.shape == (3, 2, 4)
    assert pixels.dtype == torch.float32
    assert torch.allclose(pixels[:, 0, 0], torch.tensor([-1.0, 1.0, -0.6]))


def test_pixels_survive_the_way_to_floats_and_back():
    video_BCFHW = to_pixels(gradient())[None, :, None]
    assert (to_uint8(video_BCFHW)[0].numpy() == np.asarray(gradient())).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_floats_become_bytes_as_numpy_rounds_them(dtype):
    video = (torch.rand(1, 3, 5, 8, 6, generator=torch.Generator().manual_seed(0)) * 2.4 - 1.2).to(dtype)
    unit = np.clip(video.float().numpy() / 2 + np.float32(0.5), 0, 1)
    expected = (unit * 255).round().astype(np.uint8)[0].transpose(1, 2, 3, 0)
    assert (to_uint8(video).numpy() == expected).all()


def test_a_batch_of_videos_is_not_taken_for_one():
    with pytest.raises(ValueError, match="expected"):
        to_uint8(torch.zeros(2, 3, 1, 4, 4))


TEXTS = {
    "reelwright": '{"prompt": "a \\"cat\\" – 猫 😀\\n",\n "x": ' + "1" * 100_000 + "}",
    "comment": "line one\nline 'two'",
    "empty": "",
}


def test_texts_in_a_png_come_back_and_pillow_reads_them_too(tmp_path):
    path = tmp_path / "a.png"
    write_png(path, gradient(), TEXTS)
    assert read_png_metadata(path) == TEXTS
    with Image.open(path) as image:
        assert image.info["reelwright"] == TEXTS["reelwright"]
        assert (np.asarray(image) == np.asarray(gradient())).all()


def test_the_same_picture_and_texts_give_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        write_png(tmp_path / name, gradient(), TEXTS)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("texts", [{"": "x"}, {"k": "a\0b"}, {"k" * 80: "x"}, {"ключ": "x"}])
def test_texts_that_png_cannot_hold_are_refused_and_leave_no_file(tmp_path, texts):
    with pytest.raises(ValueError, match="metadata"):
        write_png(tmp_path / "a.png", gradient(), texts)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_a_file_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="cannot be written"):
        write_png(tmp_path / "file" / "a.png", gradient())


def test_texts_are_not_looked_for_in_other_kinds_of_file(tmp_path):
    gradient().save(tmp_path / "a.jpg")
    with pytest.raises(FileError, match="not PNG"):
        read_png_metadata(tmp_path / "a.jpg")


def test_an_animated_png_gives_its_texts(tmp_path):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime")]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    assert read_png_metadata(tmp_path / "a.png") == {}
