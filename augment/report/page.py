"""A report's page: one HTML file that carries its images and loads nothing."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

import jinja2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from augment.report.wording import count, duration, number, share, signed, size

MIME_TYPES = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


def render(template: str, **context: object) -> str:
    """Fill in a template of this package; text is escaped, and a name that the template misses is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("augment.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {form.__name__: unbroken(form) for form in (number, signed, count, duration, size, share)}
    return environment.get_template(template).render(context)


def unbroken(form: Callable[..., str]) -> Callable[..., str]:
    """The same words, never broken at the end of a line: 2 min 05 s."""
    return lambda *args: form(*args).replace(" ", "\u00a0")


def data_uri(content: bytes, extension: str) -> str:
    """An image file's content as an address that holds it."""
    return f"data:{MIME_TYPES[extension]};base64,{base64.b64encode(content).decode()}"


def photo_uri(image: UInt8[np.ndarray, "h w 3"]) -> str:
    """For photos: JPEG, good enough to look at."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=90, subsampling=0)
    return data_uri(buffer.getvalue(), "jpg")


def drawing_uri(image: UInt8[np.ndarray, "h w 3"]) -> str:
    """For coloured label maps: PNG, lossless and small."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return data_uri(buffer.getvalue(), "png")


def read_photo(file: Path) -> UInt8[np.ndarray, "h w 3"]:
    """An image file as RGB; one that cannot be read is a ValueError that names it."""
    try:
        with Image.open(file) as image:
            return np.array(image.convert("RGB"))
    except OSError as error:  # Pillow's own errors are OSErrors, too
        raise ValueError(f"{file} cannot be read as an image: {error}") from None
