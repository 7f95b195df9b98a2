"""Every kind of image file that a dataset may hold."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from duoreid.datasets.decode import FORMATS, NOT_READ, ImageError, decode, formats, open_rgb, suffixes
from duoreid.datasets.files import is_image, is_unread
from duoreid.datasets.inspection import look
from tests.datasets import trees


def saved(tmp_path, image, name="x.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA", "LA"])
def test_other_modes_become_rgb(tmp_path, mode):
    grey = Image.fromarray(np.full((6, 4), 255, np.uint8)).convert("RGB").convert(mode)
    pixels = decode(saved(tmp_path, grey), 6, 4)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (6, 4, 3))
    assert (pixels == 255).all()


def test_cmyk_jpeg_keeps_its_colours(tmp_path):
    red = Image.new("RGB", (8, 8), (200, 30, 30)).convert("CMYK")
    pixels = decode(saved(tmp_path, red, "x.jpg", quality=95), 8, 8)
    assert np.abs(pixels.astype(int) - (200, 30, 30)).max() < 12


def test_16_bits_are_refused_rather_than_guessed_at(tmp_path):
    deep = Image.fromarray(np.full((6, 4), 300, np.uint16))
    with pytest.raises(ImageError, match="8 bits"):
        decode(saved(tmp_path, deep), 6, 4)


def test_interpolations(tmp_path):
    file = trees.image(tmp_path / "x.png", size=(13, 29))
    with Image.open(file) as image:
        cubic = np.asarray(image.resize((8, 16), Image.Resampling.BICUBIC))
        linear = np.asarray(image.resize((8, 16), Image.Resampling.BILINEAR))
    assert (decode(file, 16, 8) == cubic).all()
    assert (decode(file, 16, 8, "bilinear") == linear).all()
    assert (cubic != linear).any()


def test_a_phones_orientation_is_applied(tmp_path):
    image = Image.fromarray(np.arange(6, dtype=np.uint8).repeat(3).reshape(2, 3, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    file = saved(tmp_path, image, exif=exif)
    assert (decode(file, 3, 2) == np.rot90(np.asarray(image), -1)).all()


def broken(tmp_path, kind):
    file = trees.image(tmp_path / "whole.jpg", size=(64, 64))
    data = file.read_bytes()
    if kind == "folder":
        (tmp_path / "x").mkdir()
        return tmp_path / "x"
    if kind == "absent":
        return tmp_path / "x"
    if kind == "loop":
        os.symlink("x.jpg", tmp_path / "x.jpg")
        return tmp_path / "x.jpg"
    content = {"empty": b"", "cut": data[: len(data) // 2], "text": b"hello, I am an image" * 9, "head": data[:20]}
    png = trees.image(tmp_path / "whole.png", size=(64, 64)).read_bytes()
    content |= {"png cut": png[: len(png) // 2], "png damaged": png[:60] + bytes(40) + png[100:]}
    (tmp_path / "x").write_bytes(content[kind])
    return tmp_path / "x"


@pytest.mark.parametrize("kind", ["empty", "cut", "text", "head", "png cut", "png damaged", "folder", "absent", "loop"])
def test_broken_files_are_named(tmp_path, kind):
    file = broken(tmp_path, kind)
    with pytest.raises(ImageError) as error:
        decode(file, 8, 8)
    assert str(error.value).startswith(f"{file}: ")
    assert len(error.value.reason) > 5


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("name", ["a.eps", "a.jpg", "a.png"])
def test_postscript_is_refused_whatever_its_name_and_starts_nothing(tmp_path, monkeypatch, name):
    started = []
    monkeypatch.setattr("subprocess.check_call", lambda *words, **options: started.append(words))
    (tmp_path / name).write_bytes(EPS)
    with pytest.raises(ImageError, match="PostScript"):
        open_rgb(tmp_path / name)
    with pytest.raises(ImageError, match="PostScript"):
        open_rgb(io.BytesIO(EPS))
    assert look(str(tmp_path / name)).error.startswith("PostScript")
    (tmp_path / name).write_bytes(b" " + EPS)  # nor by another way to its reader
    with pytest.raises(ImageError, match="identified"):
        open_rgb(tmp_path / name)
    assert not started


def test_formats_that_decode_elsewhere_are_never_tried(tmp_path):
    assert not {"EPS", "WMF", "FITS", "GRIB", "HDF5", "BUFR"} & set(formats())
    icon = tmp_path / "a.jpg"  # an icon, which Pillow would read
    Image.new("RGB", (16, 16)).save(icon, "ICO")
    with pytest.raises(ImageError, match="identified"):
        open_rgb(icon)


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        *(
            (".JPE", "JPEG"),
            (".jfif", "JPEG"),
            (".gif", "GIF"),
            (".jp2", "JPEG2000"),
            (".avif", "AVIF"),
            (".pgm", "PPM"),
        ),
        *((".tga", "TGA"), (".webp", "WEBP"), (".TIFF", "TIFF"), (".qoi", "QOI")),
    ],
)
def test_what_pillow_reads_is_read(tmp_path, suffix, kind):
    if kind not in formats():
        pytest.skip(f"this Pillow reads no {kind}")
    image = Image.new("L" if suffix == ".pgm" else "RGB", (16, 16))
    file = saved(tmp_path, image, f"x{suffix}", format=kind)
    assert is_image(file.name)
    assert not is_unread(file.name)
    assert open_rgb(file).size == (16, 16)


def test_every_format_has_suffixes_of_its_own():
    assert not suffixes() & NOT_READ
    assert len(suffixes()) == sum(len(FORMATS[name]) for name in formats())


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    file = saved(tmp_path, Image.new("RGB", (100, 50)), "x.bmp")
    assert open_rgb(file).size == (100, 50)
    monkeypatch.setattr("duoreid.datasets.decode.PIXELS", 4_999)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="100 x 50 pixels, expected at most 4,999"):
        open_rgb(file)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.jpg")
    with pytest.raises(ImageError, match="a pipe or a device"):
        open_rgb(tmp_path / "x.jpg")
