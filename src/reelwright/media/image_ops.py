"""Images in and out: any picture to 8-bit RGB, saying what was changed; pixels to tensors and back."""

import io
import struct
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile, PngInfo
from torch import Tensor

from reelwright.core.errors import FileError
from reelwright.core.paths import atomic_path
from reelwright.media.files import check_has_content, check_texts
from reelwright.media.geometry import contain_pad_box, cover_crop_box

Fit = Literal["crop", "stretch", "pad"]
"""How a picture meets another shape: cut the excess, distort, or add black bars."""

# Others that Pillow knows start outside programs or hold no picture of fixed size.
_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM", "ICO")
DECODE_ERRORS = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, struct.error)
"""What Pillow raises for damaged files, by format."""
_SIXTEEN_BIT_WHITE = 65535
_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True, kw_only=True)
class OpenedImage:
    """A picture in mode RGB, upright, and a sentence for each thing that was changed to make it so."""

    rgb: Image.Image
    notices: tuple[str, ...]


def open_image(path: Path, *, keep_hidden: bool = False) -> OpenedImage:
    """Read any common picture as upright 8-bit RGB; alpha is laid over white.

    keep_hidden: alpha is a mask and not transparency, so what is stored beneath it is kept.
    Raises FileError for what is missing, empty, not a picture, damaged, or so large that it may be an attack;
    the last is found before any pixel is decoded.
    """
    notices: list[str] = []
    with decoded_picture(path) as decoded:
        # The second picture in a phone's JPEG is a preview or a depth map, not a next frame.
        if getattr(decoded, "is_animated", False) and decoded.format != "MPO":
            notices.append("has several frames; the first is used.")
        image = _upright(decoded, notices)
        image = _in_eight_bits(path, image, notices)
        image = (image.convert("RGBA") if keep_hidden else _opaque(image, notices)).convert("RGB")
    return OpenedImage(rgb=image, notices=tuple(f"{path.name}: {notice}" for notice in notices))


def open_mask(path: Path, *, alpha_only: bool = False) -> Image.Image | None:
    """A mask as upright 8-bit gray: white is kept. With `alpha_only`, a picture's transparency if it has any.

    Raises FileError as open_image.
    """
    with decoded_picture(path) as decoded:
        image = _in_eight_bits(path, _upright(decoded, []), [])
        if alpha_only:
            return image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
        return image.convert("L")


def fit_mask(mask: Image.Image, width: int, height: int) -> Image.Image:
    """The mask at another size, resampled with Lanczos."""
    return mask.resize((width, height), Image.Resampling.LANCZOS)


def fit_image(image: Image.Image, width: int, height: int, fit: Fit = "crop") -> Image.Image:
    """The picture at exactly width x height, resampled with Lanczos; "pad" adds black bars."""
    target = (width, height)
    if image.size == target:
        return image
    if fit == "stretch":
        return image.resize(target, Image.Resampling.LANCZOS)
    if fit == "crop":
        size, box = cover_crop_box(image.size, target)
        return image.resize(size, Image.Resampling.LANCZOS).crop(box)
    size, box = contain_pad_box(image.size, target)
    canvas = Image.new(image.mode, target)
    canvas.paste(image.resize(size, Image.Resampling.LANCZOS), box)
    return canvas


def over_white(image: Image.Image) -> Image.Image:
    """The picture in mode RGB, with what is transparent laid over white."""
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def to_pixels(image: Image.Image) -> Tensor:
    """An RGB picture as float32 [3, H, W] in [-1, 1], by the arithmetic of the released pipelines."""
    scaled = np.asarray(image, dtype=np.float32) / 255.0
    return 2.0 * torch.from_numpy(scaled).permute(2, 0, 1).contiguous() - 1.0


def to_uint8(video_BCFHW: Tensor) -> Tensor:
    """One decoded video, B = 1, in [-1, 1] (beyond is clipped), as uint8 video_FHWC, halves to even."""
    if video_BCFHW.ndim != 5 or video_BCFHW.shape[0] != 1:
        raise ValueError(f"video: expected [1, C, F, H, W], got {list(video_BCFHW.shape)}")
    video_FHWC = video_BCFHW[0].permute(1, 2, 3, 0).float()
    return ((video_FHWC / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).contiguous()


def write_png(path: Path, image: Image.Image, metadata: Mapping[str, str] | None = None) -> None:
    """Write a picture, whole or not at all, with texts by key; same picture and texts, same bytes."""
    content = png_bytes(image, metadata or {})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def png_bytes(image: Image.Image, metadata: Mapping[str, str]) -> bytes:
    """A picture as the content of a PNG file, with `metadata` as compressed international text chunks.

    Raises ValueError for a key that PNG cannot hold: it takes 1 to 79 characters of Latin-1.
    """
    check_texts(metadata)
    texts = PngInfo()
    for key, text in metadata.items():
        if len(key) > 79 or not key.isascii():
            raise ValueError(f"metadata {key!r}: a PNG key has at most 79 ASCII characters")
        texts.add_itxt(key, text, zip=True)
    content = io.BytesIO()
    # The level is stated because the bytes depend on it.
    image.save(content, "PNG", pnginfo=texts, compress_level=6)
    return content.getvalue()


def read_png_metadata(path: Path) -> dict[str, str]:
    """The texts stored in a PNG file, by key. Raises FileError as `open_image`, and if it is no PNG."""
    with decoded_picture(path) as image:
        if not isinstance(image, PngImageFile):
            raise FileError(f"{path}: is {image.format}, not PNG. Name a PNG file.")
        return {key: str(text) for key, text in image.text.items()}


@contextmanager
def decoded_picture(path: Path) -> Generator[Image.Image]:
    """The picture as stored, decoded and its file still open; what fails meanwhile is a FileError."""
    check_has_content(path)
    try:
        with warnings.catch_warnings():
            # Doubts about odd tags are Pillow's own affair; doubts about the size are an error.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                if 0 in image.size:
                    raise FileError(f"{path}: has no pixels. Choose another picture.")
                image.load()
                yield image
    except UnidentifiedImageError as error:
        raise FileError(f"{path}: is not a picture that can be read. Use PNG, JPEG or WebP.") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        reason = str(error).partition(",")[0]
        raise FileError(f"{path}: {reason}. Scale the picture down first.") from error
    except DECODE_ERRORS as error:
        raise FileError(f"{path}: is damaged or cut short ({error}). Export or download it again.") from error


def _upright(image: Image.Image, notices: list[str]) -> Image.Image:
    if image.getexif().get(_EXIF_ORIENTATION, 1) not in range(2, 9):
        return image
    notices.append("turned upright, as its camera orientation says.")
    return ImageOps.exif_transpose(image)


def _in_eight_bits(path: Path, image: Image.Image, notices: list[str]) -> Image.Image:
    if image.mode == "CMYK":
        notices.append("converted from CMYK to RGB without a color profile; colors may shift.")
        return image.convert("RGB")
    if image.mode == "F":
        raise FileError(f"{path}: holds floating-point values without a known white. Save it as 8 or 16 bit.")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > _SIXTEEN_BIT_WHITE:
        raise FileError(f"{path}: holds 32-bit values without a known white. Save it as 8 or 16 bit.")
    notices.append("reduced from 16 to 8 bits.")
    # Pillow's own conversion clips at 255 and gives a white picture.
    return Image.fromarray(((values * 255 + _SIXTEEN_BIT_WHITE // 2) // _SIXTEEN_BIT_WHITE).astype(np.uint8))


def _opaque(image: Image.Image, notices: list[str]) -> Image.Image:
    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    if np.asarray(layer)[..., 3].min() == 255:
        return layer
    notices.append("transparent parts were laid over white.")
    return over_white(layer)
