"""Files of every kind, damaged at random from a seed: no crash, no hang, and limited memory.

python -m pytest tests/test_fuzz.py --hypothesis-profile fuzz       over 20,000 cases in two minutes
"""

import gzip
import io
import resource
import signal
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import keras
import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from unet.errors import ImageError, UserError
from unet.images.nifti import encode_volume_mask, read_volume
from unet.images.reading import read_image
from unet.network.model import build_unet
from unet.network.saved_run import SavedRun
from unet.network.weights import load_weights
from unet.options import ModelConfig, PairingOptions

SECONDS = 10
MORE_MIB = 300
READING = PairingOptions(max_pixels=1_000_000)
GREY = np.random.default_rng(0).integers(0, 256, (40, 56)).astype(np.uint8)


def encode(image: Image.Image, format: str, **options) -> bytes:
    """An image file, as Pillow writes it."""
    content = io.BytesIO()
    image.save(content, format, **options)
    return content.getvalue()


L = Image.fromarray(GREY)
IMAGES = [
    encode(L, "PNG"),
    encode(L.convert("P"), "PNG"),
    encode(Image.fromarray(GREY.astype(np.uint16) * 200), "PNG"),
    encode(L, "JPEG"),
    encode(L.convert("CMYK"), "JPEG", progressive=True),
    encode(L, "TIFF", compression="tiff_lzw"),
    encode(L.convert("RGB"), "TIFF", compression="jpeg"),
    encode(L.convert("1"), "BMP"),
]


@st.composite
def mutated(draw, samples: list[bytes]) -> bytes:
    """One of the samples with bytes changed, inserted, cut or copied. PNG checksums are sometimes fixed."""
    content = bytearray(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(["set", "number", "insert", "cut", "copy"]))
        if kind == "set":
            content[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
        elif kind == "number":  # may be a size or a count
            value = draw(st.sampled_from([0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]))
            content[place : place + 4] = struct.pack(draw(st.sampled_from("<>")) + "I", value)
        elif kind == "insert":
            content[place:place] = draw(st.binary(max_size=20))
        elif kind == "cut":
            del content[place : place + draw(st.integers(1, len(content) + 1))]
        else:
            start = draw(st.integers(0, len(content)))
            content[place:place] = content[start : start + 50]
    return fix_checksums(bytes(content)) if draw(st.booleans()) else bytes(content)


def fix_checksums(png: bytes) -> bytes:
    """A PNG with correct checksums, so that its reader gets past them. Other files are unchanged."""
    if not png.startswith(b"\x89PNG"):
        return png
    result, place = png[:8], 8
    while place + 12 <= len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        checked = png[place + 4 : place + 8 + length]
        result += png[place : place + 4] + checked + struct.pack(">I", zlib.crc32(checked))
        place += 12 + length
    return result


@pytest.fixture(autouse=True)
def bounded():
    """Fails a case that hangs, and a test that takes too much memory."""

    def fail(number, frame):
        raise TimeoutError(f"a case took {SECONDS} s")

    signal.signal(signal.SIGALRM, fail)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    signal.alarm(0)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MORE_MIB


def fuzz(fraction: float):
    """Settings of a test that takes this fraction of the profile's cases."""
    return settings(
        max_examples=max(1, round(settings.default.max_examples * fraction)),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@fuzz(0.5)
@given(content=mutated(IMAGES))
def test_image(content, tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(content)
    signal.alarm(SECONDS)
    try:
        pixels = read_image(path, READING)
    except ImageError:
        return
    assert pixels.dtype == np.uint8 and pixels.ndim == 2 and 0 < pixels.size <= 1_000_000


VOXELS = np.random.default_rng(0).integers(0, 999, (9, 8, 4)).astype(np.int16)
NIFTI = nibabel.Nifti1Image(VOXELS, np.diag([1, 1, 5, 1])).to_bytes()
NIFTI2 = nibabel.Nifti2Image(VOXELS.astype(np.float32), np.diag([1, -1, 5, 1])).to_bytes()


@fuzz(0.2)
@given(content=mutated([NIFTI, NIFTI2]), packed=st.sampled_from(["", "before", "after"]), data=st.data())
def test_volume(content, packed, data, tmp_path):
    """A damaged NIfTI file, not compressed, or damaged before or after compression."""
    if packed == "before":
        content = gzip.compress(content)
    elif packed == "after":
        content = data.draw(mutated([gzip.compress(NIFTI)]))
    path = tmp_path / ("scan.nii.gz" if packed else "scan.nii")
    path.write_bytes(content)
    signal.alarm(SECONDS)
    try:
        volume = read_volume(path, reading=READING)
    except ImageError:
        return
    assert volume.grey.dtype == np.uint8 and 0 < volume.grey.size <= 1_000_000
    gzip.decompress(encode_volume_mask(volume.grey > 100, volume))


@dataclass(frozen=True)
class Target:
    """A run folder whose files are damaged again and again, and their original content."""

    folder: Path
    texts: dict[str, bytes]  # of JSON and CSV files, by name
    archive: bytes  # model.keras
    weights: bytes  # model.weights.h5 in model.keras
    network: keras.Model  # of the same shape


@pytest.fixture(scope="module")
def target(trained, tmp_path_factory) -> Target:
    folder = tmp_path_factory.mktemp("fuzz") / "run"
    folder.mkdir()
    network = build_unet(ModelConfig(width=1, depth=2))
    network.save(folder / "model.keras")
    with zipfile.ZipFile(folder / "model.keras") as archive:
        weights = archive.read("model.weights.h5")
    texts = {name: (trained / name).read_bytes() for name in ("config.json", "slices.csv", "confidence.json")}
    return Target(folder, texts, (folder / "model.keras").read_bytes(), weights, network)


@fuzz(0.225)
@given(data=st.data())
def test_config(data, target):
    """Damage to config.json, slices.csv or confidence.json."""
    damaged = data.draw(st.sampled_from(list(target.texts)))
    for name, content in target.texts.items():
        content = data.draw(mutated([content])) if name == damaged else content
        (target.folder / name).write_bytes(content)
    signal.alarm(SECONDS)
    try:
        SavedRun.open(target.folder).confidence_model()
    except UserError as error:
        assert str(target.folder) in str(error) and "\n" not in str(error)


@fuzz(0.15)
@given(data=st.data())
def test_model_file(data, target):
    path = target.folder / "model.keras"
    if data.draw(st.booleans()):
        path.write_bytes(data.draw(mutated([target.archive])))
    else:  # damaged weights in an undamaged archive
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model.weights.h5", data.draw(mutated([target.weights])))
    signal.alarm(SECONDS)
    try:
        load_weights(target.network, path)
    except UserError as error:
        assert "does not contain this run's network" in str(error)
