"""DICOM slices and series, tested on pydicom's own files: positions are read correctly and kept in masks."""

import gzip
import io
import shutil
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from ready import run_script

from unet.errors import ImageError
from unet.images.dicom import is_dicom, read_series, series_of
from unet.images.dicom_seg import encode_segmentation
from unet.images.nifti import encode_volume_mask
from unet.network.predictor import Predictor
from unet.network.saved_run import SavedRun
from unet.options import PredictionOptions
from unet.prediction.inputs import Input, find_inputs
from unet.prediction.outlines import outline_volume
from unet.tables import read_table

SLICE = Path(get_testdata_file("MR_small.dcm"))
# A folder with several series. The file names have no suffix.
DISC = SLICE.parent / "dicomdirtests" / "98892003"
COSINE, SINE = np.cos(np.radians(20)), np.sin(np.radians(20))


def write_series(folder: Path, positions=(0, 1, 2, 3, 4), change=lambda dataset: None) -> list[Path]:
    """Slices at these multiples of 3 mm, tilted by 20 degrees, with pixels of 0.5 x 0.7 mm and shuffled names."""
    folder.mkdir(parents=True)
    across = np.array([0, -SINE, COSINE])
    for number, position in enumerate(positions):
        dataset = pydicom.dcmread(SLICE)
        dataset.SeriesInstanceUID = "1.2.3"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        dataset.ImageOrientationPatient = [1, 0, 0, 0, COSINE, SINE]
        dataset.ImagePositionPatient = [*(np.array([-20, -30, 40]) + 3 * position * across)]
        dataset.PixelSpacing = [0.7, 0.5]
        pixels = np.zeros((64, 64), np.int16)
        pixels[10:16, 20 + number : 26 + number] = 1000
        dataset.PixelData = pixels.tobytes()
        change(dataset)
        dataset.save_as(folder / f"{(7 * number) % 5}-{number}.dcm")
    return sorted(folder.iterdir())


def test_a_slice_becomes_a_volume_of_one_slice():
    volume = read_series([SLICE])
    header = pydicom.dcmread(SLICE)
    assert volume.slices.shape == (1, 64, 64)
    assert volume.spacing_mm[1:] == pytest.approx(header.PixelSpacing)
    pixels = header.pixel_array.astype(float)
    low, high = np.percentile(pixels, (0.5, 99.5))
    scaled = np.rint(np.clip((pixels - low) * 255 / (high - low), 0, 255))
    # The slice may be mirrored or transposed, so that the patient's right is on the left.
    shown = volume.slices[0]
    flips = [scaled, scaled[::-1], scaled[:, ::-1], scaled[::-1, ::-1]]
    assert any(np.array_equal(shown, each) for flip in flips for each in (flip, flip.T))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("RescaleSlope", ["1", "2"], "pixels that cannot be read"),
        ("SamplesPerPixel", 3, "pixels that cannot be read|is not a grey slice"),
    ],
)
def test_a_file_with_a_damaged_field_is_refused(name, value, expected, tmp_path):
    def change(dataset):
        setattr(dataset, name, value)
        if name == "SamplesPerPixel":
            dataset.PlanarConfiguration = 0
            dataset.PixelData *= 3

    with pytest.raises(ImageError, match=expected):
        read_series(write_series(tmp_path / "scan", [0], change))


@pytest.mark.parametrize("missing", ["PixelSpacing", "SliceThickness"])
def test_a_volume_without_spacing_has_no_volume_in_mm3(missing, trained, tmp_path):
    (path,) = write_series(tmp_path / "scan", [0], lambda dataset: delattr(dataset, missing))
    assert read_series([SLICE]).spacing_known and not read_series([path]).spacing_known
    source = Input(str(path), "x", (path,))
    options = PredictionOptions((str(path),), tmp_path / "out")
    row = outline_volume(Predictor(SavedRun.open(trained)), source, options).row
    assert row.is_ok and row.tumor_mm3 is None


@pytest.mark.parametrize("name", ["RLE", "bigendian", "implicit", "expb", "padded"])
def test_encodings_give_the_same_pixels(name):
    other = read_series([Path(get_testdata_file(f"MR_small_{name}.dcm"))])
    np.testing.assert_array_equal(other.slices, read_series([SLICE]).slices)


def test_a_series_is_at_the_positions_in_its_headers(tmp_path):
    (files,) = series_of(write_series(tmp_path / "scan"))
    assert [path.stem[-1] for path in files] == list("01234")
    volume = read_series(files)
    assert volume.spacing_mm[0] == pytest.approx(3)
    content = gzip.decompress(encode_volume_mask(volume.slices > 128, volume))
    mask = nibabel.Nifti1Image.from_bytes(content)
    voxels = np.argwhere(np.asarray(mask.dataobj))
    assert len(voxels) == 5 * 36
    for number in range(5):
        # DICOM PS3.3 C.7.6.2.1.1: position of row 10, column 20 + number. NIfTI inverts x and y.
        corner = np.array([-20, -30, 40]) + 3 * number * np.array([0, -SINE, COSINE])
        position = corner + 0.5 * (20 + number) * np.array([1, 0, 0])
        position += 0.7 * 10 * np.array([0, COSINE, SINE])
        mapped = nibabel.affines.apply_affine(mask.affine, voxels)
        assert np.abs(mapped - position * (-1, -1, 1)).max(axis=1).min() < 1e-3


def test_files_without_suffix_are_found_and_grouped_by_series():
    inputs = find_inputs((str(DISC),), Path("out"))
    by_series: dict[str, int] = {}
    for path in DISC.rglob("*"):
        if path.is_file():
            uid = pydicom.dcmread(path, stop_before_pixels=True).SeriesInstanceUID
            by_series[uid] = by_series.get(uid, 0) + 1
    assert sorted(len(input.series) for input in inputs) == sorted(by_series.values())
    assert not is_dicom(DISC.parent / "DICOMDIR")


def test_files_with_a_number_as_suffix_are_found(tmp_path):
    shutil.copy(SLICE, tmp_path / "1.2.840.5")
    (tmp_path / "notes.3").write_text("not DICOM")
    assert [input.name for input in find_inputs((str(tmp_path),), Path("out"))] == ["1.2.840"]


def deflated(folder):
    return [Path(get_testdata_file("image_dfl.dcm"))]


def cut_off(folder):
    return [Path(get_testdata_file("MR_truncated.dcm"))]


def two_frames(folder):
    return [Path(get_testdata_file("rtdose.dcm"))]


def color(folder):
    return [Path(get_testdata_file("SC_rgb_rle.dcm"))]


def no_image(folder):
    return [Path(get_testdata_file("rtplan.dcm"))]


def text(folder):
    (folder / "x.dcm").write_text("not DICOM")
    return [folder / "x.dcm"]


def huge(folder):
    dataset = pydicom.dcmread(SLICE)
    dataset.Rows = dataset.Columns = 60000
    dataset.save_as(folder / "x.dcm")
    return [folder / "x.dcm"]


def invalid_position(folder):
    dataset = pydicom.dcmread(SLICE)
    dataset.ImagePositionPatient = [0, 0]
    dataset.save_as(folder / "x.dcm")
    return [folder / "x.dcm"]


def missing_slice(folder):
    return series_of(write_series(folder / "scan", positions=(0, 1, 2, 4, 5)))[0]


def two_slices_at_one_position(folder):
    return series_of(write_series(folder / "scan", positions=(0, 1, 1, 2, 3)))[0]


def two_sizes(folder):
    def change(dataset):
        if dataset.SOPInstanceUID.endswith("3"):
            dataset.Rows = 32
            dataset.PixelData = bytes(2 * 32 * 64)

    return series_of(write_series(folder / "scan", change=change))[0]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (deflated, "is deflated"),
        (cut_off, "cannot be read"),
        (two_frames, "frames: save each"),
        (color, "is in color"),
        (no_image, "contains no image"),
        (text, "not a readable DICOM"),
        (huge, "more than --max-pixels"),
        (invalid_position, "has an invalid ImagePositionPatient: fix it"),
        (missing_slice, "add the missing slice"),
        (two_slices_at_one_position, "put each series in a separate folder"),
        (two_sizes, "a different size than its series"),
    ],
)
def test_files_that_are_not_a_series_are_refused_in_one_line(make, expected, tmp_path):
    with pytest.raises(ImageError, match=expected) as caught:
        read_series(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_prediction_of_a_series(trained, tmp_path):
    write_series(tmp_path / "in" / "scan")
    shutil.copy(SLICE, tmp_path / "in" / "single.dcm")
    text(tmp_path / "in")
    arguments = ["in", "--run", trained, "--output", "out"]
    done = run_script("predict", *arguments, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    rows = {Path(row["path"]).name: row for row in read_table(tmp_path / "out/predictions.csv")}
    assert rows["0-0.dcm"]["slices"] == "5" and rows["single.dcm"]["status"] == "ok"
    assert "not a readable DICOM" in rows["x.dcm"]["status"]
    masks = tmp_path / "out" / "masks"
    names = {path.relative_to(masks).as_posix() for path in masks.rglob("*.*")}
    assert names == {"scan/0-0_mask.nii.gz", "scan/0-0_seg.dcm", "single_mask.nii.gz", "single_seg.dcm"}


def test_a_segmentation_contains_the_mask_of_each_source_file(tmp_path):
    (files,) = series_of(write_series(tmp_path / "scan"))
    volume = read_series(files)
    content = encode_segmentation(volume.slices > 128, volume, files)
    (tmp_path / "seg.dcm").write_bytes(content)
    again = pydicom.dcmread(io.BytesIO(encode_segmentation(volume.slices > 128, volume, files)))
    segmentation = highdicom.seg.segread(tmp_path / "seg.dcm")
    assert again.SOPInstanceUID == segmentation.SOPInstanceUID
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in files]
    frames = segmentation.get_pixels_by_source_instance(uids)[..., 0]
    for number, frame in enumerate(frames):
        expected = np.zeros((64, 64))
        expected[10:16, 20 + number : 26 + number] = 1
        np.testing.assert_array_equal(frame, expected)
    assert segmentation.get_segment_description(1).SegmentLabel == "Tumor"
