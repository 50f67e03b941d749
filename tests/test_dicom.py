"""DICOM slices and series, tested on pydicom's own files: positions are read correctly and kept in masks."""

import gzip
import io
import shutil
from pathlib import Path

import highdicom
import imagecodecs
import nibabel
import numpy as np
import pydicom
import pytest
from pydicom import Dataset, Sequence
from pydicom.data import get_testdata_file
from pydicom.uid import JPEGLossless, JPEGLosslessSV1
from ready import run_script

from unet.data.pairs import Pair
from unet.errors import ImageError
from unet.evaluation.contenders import GivenMasks
from unet.images.dicom import is_dicom, read_series, series_of, slices_in_series, warn_unless_head_mri
from unet.images.dicom_frames import read_pixels
from unet.images.dicom_seg import encode_segmentation, read_segmentation
from unet.images.nifti import encode_volume_mask
from unet.images.volume import slices_of
from unet.network.predictor import Predictor
from unet.network.saved_run import SavedRun
from unet.options import PredictionOptions
from unet.prediction.inputs import Input, find_inputs
from unet.prediction.scans import outline_scan_file
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


@pytest.mark.parametrize(
    ("modality", "part", "facts"),
    [
        ("MR", "", ""),
        ("MR", "BRAIN", ""),
        ("", "HEAD", ""),
        ("CT", "HEAD", "CT of HEAD"),
        ("MR", "ABDOMEN", "MR of ABDOMEN"),
    ],
)
def test_what_is_not_mri_of_the_head_is_named(modality, part, facts, tmp_path, capsys):
    def change(dataset: Dataset) -> None:
        dataset.Modality, dataset.BodyPartExamined = modality, part

    first, *_ = write_series(tmp_path / "in", change=change)
    warn_unless_head_mri(first)
    warning = (
        f"Warning: '{first}' is {facts}. Results are unreliable on images unlike the training data, which are most "
        "likely MRI of the head.\n"
    )
    assert capsys.readouterr().err == (warning if facts else "")


def test_slices_without_a_series_uid_are_one_series_if_they_have_positions(tmp_path):
    def without_uid(dataset: Dataset) -> None:
        del dataset.SeriesInstanceUID

    assert len(series_of(write_series(tmp_path / "in", change=without_uid))) == 1

    def without_position(dataset: Dataset) -> None:
        del dataset.SeriesInstanceUID, dataset.ImagePositionPatient

    assert len(series_of(write_series(tmp_path / "other", change=without_position))) == 5


def group(**fields) -> Dataset:
    """A functional group: each field is the only item of a sequence."""
    made = Dataset()
    for name, items in fields.items():
        setattr(made, name, Sequence([Dataset()]))
        for key, value in items.items():
            setattr(getattr(made, name)[0], key, value)
    return made


def write_enhanced(path: Path, series: list[Path], change=lambda dataset: None) -> Path:
    """One Enhanced MR file with the slices of a series, each with its own slope and intercept."""
    slices = [pydicom.dcmread(file) for file in series]
    dataset = pydicom.dcmread(series[0])
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.EnhancedMRImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.4"
    dataset.NumberOfFrames = len(slices)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(dataset, name)
    first = slices[0]
    shared = group(
        PlaneOrientationSequence={"ImageOrientationPatient": first.ImageOrientationPatient},
        PixelMeasuresSequence={"PixelSpacing": first.PixelSpacing, "SliceThickness": first.SliceThickness},
    )
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(
        group(
            PlanePositionSequence={"ImagePositionPatient": one.ImagePositionPatient},
            PixelValueTransformationSequence={"RescaleSlope": 1 / (1 + number), "RescaleIntercept": -number},
        )
        for number, one in enumerate(slices)
    )
    pixels = [(one.pixel_array + number) * (1 + number) for number, one in enumerate(slices)]
    dataset.PixelData = np.array(pixels, np.int16).tobytes()
    change(dataset)
    dataset.save_as(path)
    return path


def test_a_slice_becomes_a_volume_of_one_slice():
    volume = read_series([SLICE])
    header = pydicom.dcmread(SLICE)
    (plane,) = volume.planes
    (shown,) = slices_of(volume.grey, plane)
    assert shown.shape == (64, 64)
    assert volume.pixel_mm(plane) == pytest.approx(header.PixelSpacing)
    pixels = header.pixel_array.astype(float)
    low, high = np.percentile(pixels, (0.5, 99.5))
    scaled = np.rint(np.clip((pixels - low) * 255 / (high - low), 0, 255))
    # The slice may be mirrored or transposed, so that the patient's right is on the left.
    flips = [scaled, scaled[::-1], scaled[:, ::-1], scaled[::-1, ::-1]]
    assert any(np.array_equal(shown, each) for flip in flips for each in (flip, flip.T))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("RescaleSlope", ["1", "2"], "has an invalid RescaleSlope: fix it"),
        ("PixelSpacing", ["0", "1"], "has a spacing that is not positive"),
        ("SamplesPerPixel", 3, "pixels that cannot be read|does not contain grey slices"),
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
    row = outline_scan_file(Predictor(SavedRun.open(trained)), source, PredictionOptions((), tmp_path)).row
    assert row.is_ok and row.tumor_mm3 is None


ENCODINGS = ["RLE", "bigendian", "implicit", "expb", "padded", "jp2klossless", "jpeg_ls_lossless"]


@pytest.mark.parametrize("name", ENCODINGS)
def test_encodings_give_the_same_pixels(name):
    other = read_series([Path(get_testdata_file(f"MR_small_{name}.dcm"))])
    np.testing.assert_array_equal(other.grey, read_series([SLICE]).grey)


def write_lossless_jpeg(path: Path, predictor: int) -> Path:
    """MR_small.dcm as JPEG Lossless, with one of its seven predictors."""
    dataset = pydicom.dcmread(SLICE)
    content = imagecodecs.jpeg8_encode(
        dataset.pixel_array.view(np.uint16), lossless=True, predictor=predictor, bitspersample=16
    )
    dataset.compress(pydicom.uid.RLELossless)
    dataset.PixelData = pydicom.encaps.encapsulate([content])
    dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1 if predictor == 1 else JPEGLossless
    dataset.save_as(path)
    return path


@pytest.mark.parametrize("predictor", range(1, 8))
def test_lossless_jpeg_gives_the_same_pixels(predictor, tmp_path):
    path = write_lossless_jpeg(tmp_path / "lossless.dcm", predictor)
    np.testing.assert_array_equal(read_pixels(path, (1, 64, 64))[0], pydicom.dcmread(SLICE).pixel_array)
    np.testing.assert_array_equal(read_series([path]).grey, read_series([SLICE]).grey)


def test_lossless_jpeg_extends_the_sign(tmp_path):
    pixels = np.array([[-2048, -1], [0, 2047]], np.int16)
    path = write_lossless_jpeg(tmp_path / "lossless.dcm", 1)
    dataset = pydicom.dcmread(path)
    dataset.BitsStored, dataset.HighBit, dataset.Rows, dataset.Columns = 12, 11, 2, 2
    content = imagecodecs.jpeg8_encode(pixels.view(np.uint16) & 0xFFF, lossless=True, predictor=1, bitspersample=12)
    dataset.PixelData = pydicom.encaps.encapsulate([content])
    dataset.save_as(path)
    np.testing.assert_array_equal(read_pixels(path, (1, 2, 2))[0], pixels)


def test_jpeg_with_12_bits_is_read():
    (pixels,) = read_pixels(Path(get_testdata_file("JPGExtended.dcm")), (1, 1024, 256))
    # What two other decoders give, according to pydicom's tests.
    assert pixels[420, 140] == 244 and pixels[230, 120] == 95


def test_a_missing_decoder_is_named(tmp_path, monkeypatch):
    path = write_lossless_jpeg(tmp_path / "lossless.dcm", 1)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImageError, match=r"lossless.dcm' is compressed \(JPEG Lossless.*pip install imagecodecs"):
        read_series([path])


def test_a_series_is_at_the_positions_in_its_headers(tmp_path):
    (files,) = series_of(write_series(tmp_path / "scan"))
    assert [path.stem[-1] for path in files] == list("01234")
    volume = read_series(files)
    assert volume.spacing_mm == pytest.approx((0.5, 0.7, 3))
    content = gzip.decompress(encode_volume_mask(volume.grey > 128, volume))
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


def test_an_enhanced_file_is_the_volume_of_its_frames(tmp_path):
    files = write_series(tmp_path / "scan")
    # Sorted by name, the slices are not in the order of their positions.
    path = write_enhanced(tmp_path / "enhanced.dcm", files)
    (files,) = series_of(files)
    assert series_of([path]) == [[path]] and read_series([path]).planes == ("axial",)
    expected, volume = read_series(files), read_series([path])
    np.testing.assert_array_equal(volume.grey, expected.grey)
    np.testing.assert_allclose(volume.image.affine, expected.image.affine, atol=1e-6)
    assert volume.spacing_known and slices_in_series([path]) == slices_in_series(files) == {"axial": 5}


@pytest.mark.parametrize(("photometric", "padding", "darkest"), [("MONOCHROME2", 60000, 1), ("MONOCHROME1", 0, 1001)])
def test_padding_is_as_dark_as_the_darkest_pixel(photometric, padding, darkest, tmp_path):
    def volume(name, outside, has_padding):
        def change(dataset):
            pixels = dataset.pixel_array.astype(np.uint16) + 1  # 1 and 1001
            pixels[40:] = outside
            dataset.PixelData, dataset.PixelRepresentation = pixels.tobytes(), 0
            dataset.PhotometricInterpretation = photometric
            dataset.add_new("PixelPaddingValue", "US", padding if has_padding else None)

        (files,) = series_of(write_series(tmp_path / name, change=change))
        return read_series(files).grey

    padded = volume("padded", padding, True)
    np.testing.assert_array_equal(padded, volume("dark", darkest, False))
    assert np.unique(padded).tolist() == [0, 255]


def test_an_enhanced_file_can_show_low_values_bright(tmp_path):
    def invert(dataset):
        dataset.PhotometricInterpretation = "MONOCHROME1"

    files = write_series(tmp_path / "scan")
    volume = read_series([write_enhanced(tmp_path / "inverted.dcm", files, invert)])
    np.testing.assert_array_equal(volume.grey, 255 - read_series(files).grey)


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
    def change(dataset):
        dataset.Rows = dataset.Columns = 20_000

    return write_series(folder / "scan", [0], change)


def too_long(folder):
    return write_series(folder / "scan", [0], lambda dataset: setattr(dataset, "Rows", 60_000))


def invalid_position(folder):
    dataset = pydicom.dcmread(SLICE)
    dataset.ImagePositionPatient = [0, 0]
    dataset.save_as(folder / "x.dcm")
    return [folder / "x.dcm"]


def series_without_position(folder):
    def change(dataset):
        if dataset.SOPInstanceUID.endswith("3"):
            del dataset.ImagePositionPatient

    return series_of(write_series(folder / "scan", change=change))[0]


def enhanced_without_position(folder):
    def change(dataset):
        del dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence

    return [write_enhanced(folder / "x.dcm", write_series(folder / "scan"), change)]


def enhanced_with_a_gap(folder):
    return [write_enhanced(folder / "x.dcm", write_series(folder / "scan", positions=(0, 1, 2, 4, 5)))]


def enhanced_with_two_scans(folder):
    return [write_enhanced(folder / "x.dcm", write_series(folder / "scan", positions=(0, 1, 2, 0, 1, 2)))]


def huge_enhanced(folder):
    def change(dataset):
        dataset.Rows = dataset.Columns = 6000

    return [write_enhanced(folder / "x.dcm", write_series(folder / "scan"), change)]


def two_series(folder):
    def change(dataset):
        dataset.SeriesInstanceUID = dataset.SOPInstanceUID

    return write_series(folder / "scan", change=change)


def segmentation(folder):
    write_segmentation(folder / "seg.dcm", write_series(folder / "scan", [0]))
    return [folder / "seg.dcm"]


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
        (two_frames, "15 frames, but positions for 0: export one file per slice"),
        (color, "is in color"),
        (no_image, "contains no image"),
        (text, "not a readable DICOM"),
        (huge, "20000 x 20000 x 1 voxels, more than --max-pixels"),
        (too_long, "with a side longer than 32767"),
        (invalid_position, "has an invalid ImagePositionPatient: fix it"),
        (series_without_position, "-3.dcm' has no ImagePositionPatient, so .* are unknown: export the series again"),
        (enhanced_without_position, "x.dcm' has no ImagePositionPatient, so"),
        (enhanced_with_a_gap, "x.dcm' is not evenly spaced .*add the missing slice"),
        (enhanced_with_two_scans, "put each series in a separate file"),
        (huge_enhanced, "6000 x 6000 x 5 voxels, more than --max-pixels"),
        (two_series, "is from another series"),
        (segmentation, "is a segmentation, not a scan"),
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
    # A series that is alone in its folder has the folder's name.
    assert names == {"scan_mask.nii.gz", "scan_seg.dcm", "single_mask.nii.gz", "single_seg.dcm"}
    # Its masks are found by that name, and the same mask as DICOM-SEG is no second one.
    pair = Pair("scan@axial-0", tmp_path / "in" / "scan", tmp_path / "in" / "scan", plane="axial", slice_index=0)
    assert GivenMasks(masks, [pair]).paths == {"scan": masks / "scan_mask.nii.gz"}
    (masks / "scan_mask.nii.gz").unlink()
    assert GivenMasks(masks, [pair]).paths == {"scan": masks / "scan_seg.dcm"}


def test_segmentations_in_a_folder_of_series_are_skipped(tmp_path, capsys):
    write_segmentation(tmp_path / "in/scan_seg.dcm", write_series(tmp_path / "in" / "scan"))
    (input,) = find_inputs((str(tmp_path / "in"),), tmp_path / "out")
    assert len(input.series) == 5
    assert "scan_seg.dcm': by its name, it is a mask" in capsys.readouterr().out


def test_a_segmentation_contains_the_mask_of_each_source_file(tmp_path):
    (files,) = series_of(write_series(tmp_path / "scan"))
    volume = read_series(files)
    content = encode_segmentation(volume.grey > 128, volume, files)
    (tmp_path / "seg.dcm").write_bytes(content)
    again = pydicom.dcmread(io.BytesIO(encode_segmentation(volume.grey > 128, volume, files)))
    segmentation = highdicom.seg.segread(tmp_path / "seg.dcm")
    assert again.SOPInstanceUID == segmentation.SOPInstanceUID
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in files]
    frames = segmentation.get_pixels_by_source_instance(uids)[..., 0]
    for number, frame in enumerate(frames):
        expected = np.zeros((64, 64))
        expected[10:16, 20 + number : 26 + number] = 1
        np.testing.assert_array_equal(frame, expected)
    assert segmentation.get_segment_description(1).SegmentLabel == "Tumor"


def write_segmentation(path: Path, series: list[Path], mask=None) -> np.ndarray:
    """The DICOM-SEG of a series with this mask, or with its bright voxels; returns the mask, bool (x, y, z)."""
    volume = read_series(series)
    mask = volume.grey > 128 if mask is None else mask
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_segmentation(mask, volume, series))
    return mask


def test_the_segmentation_of_an_enhanced_file_has_the_mask_at_the_same_positions(tmp_path):
    path = write_enhanced(tmp_path / "enhanced.dcm", write_series(tmp_path / "scan"))
    volume = read_series([path])
    mask = write_segmentation(tmp_path / "seg.dcm", [path])
    nifti = nibabel.Nifti1Image.from_bytes(gzip.decompress(encode_volume_mask(mask, volume)))
    from_nifti = nibabel.affines.apply_affine(nifti.affine, np.argwhere(np.asarray(nifti.dataobj)))
    read = highdicom.seg.segread(tmp_path / "seg.dcm").get_volume(combine_segments=True)
    from_segmentation = nibabel.affines.apply_affine(read.affine, np.argwhere(read.array)) * (-1, -1, 1)
    assert len(from_nifti) == len(from_segmentation) == 5 * 36
    distances = np.linalg.norm(from_nifti[:, None] - from_segmentation, axis=-1)
    assert distances.min(axis=0).max() < 1e-3 and distances.min(axis=1).max() < 1e-3
    np.testing.assert_array_equal(read_segmentation([tmp_path / "seg.dcm"], [path], volume), mask)


def test_frames_left_out_of_a_segmentation_are_empty(tmp_path):
    (files,) = series_of(write_series(tmp_path / "scan"))
    volume = read_series(files)
    mask = volume.grey > 128
    mask[..., 3:] = False
    write_segmentation(tmp_path / "seg.dcm", files, mask)
    assert pydicom.dcmread(tmp_path / "seg.dcm").NumberOfFrames == 3
    np.testing.assert_array_equal(read_segmentation([tmp_path / "seg.dcm"], files, volume), mask)


def test_several_segmentations_are_one_mask(tmp_path):
    (files,) = series_of(write_series(tmp_path / "scan"))
    volume = read_series(files)
    low, high = np.zeros(volume.grey.shape, bool), np.zeros(volume.grey.shape, bool)
    low[3, 4, :2] = high[5, 6, 1:] = True
    write_segmentation(tmp_path / "low.dcm", files, low)
    write_segmentation(tmp_path / "high.dcm", files, high)
    paths = [tmp_path / "low.dcm", tmp_path / "high.dcm"]
    np.testing.assert_array_equal(read_segmentation(paths, files, volume), low | high)


def shift(dataset):
    for group in dataset.PerFrameFunctionalGroupsSequence:
        group.PlanePositionSequence[0].ImagePositionPatient[0] += 1


def make_fractional(dataset):
    dataset.SegmentationType = "FRACTIONAL"


def crop(dataset):
    dataset.Rows = 32


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (shift, "seg.dcm' is not on its image's grid: its origin is"),
        (make_fractional, "seg.dcm' is not a binary DICOM-SEG"),
        (crop, "seg.dcm' is not on its image's grid: it has 64 x 32 pixels, not 64 x 64"),
    ],
)
def test_segmentations_that_do_not_fit_are_refused(change, expected, tmp_path):
    (files,) = series_of(write_series(tmp_path / "scan"))
    write_segmentation(tmp_path / "seg.dcm", files)
    dataset = pydicom.dcmread(tmp_path / "seg.dcm")
    change(dataset)
    dataset.save_as(tmp_path / "seg.dcm")
    with pytest.raises(ImageError, match=expected):
        read_segmentation([tmp_path / "seg.dcm"], files, read_series(files))
