"""Masks as people have them, and images of other formats and colors."""

import nibabel
import numpy as np
import pytest
from conftest import TINY, write_image
from PIL import Image
from ready import run_script

from unet.errors import ImageError, UserError
from unet.images.masks import read_mask
from unet.images.nifti import read_volume, read_volume_mask
from unet.images.reading import read_image
from unet.options import PairingOptions, ReadingOptions

LABELS = np.array([[0, 1, 1], [2, 2, 4]], np.uint8)


def labels(text):
    return PairingOptions(labels=text)


def saved(folder, pixels, name="mask.png"):
    Image.fromarray(pixels).save(folder / name)
    return folder / name


def test_several_values_need_a_choice(tmp_path):
    path = saved(tmp_path, LABELS)
    with pytest.raises(
        ImageError, match="has the values 1, 2 and 4 besides 0: choose those of the tumor with --labels 1 or"
    ):
        read_mask(path)
    np.testing.assert_array_equal(read_mask(path, labels("any")), LABELS > 0)
    np.testing.assert_array_equal(read_mask(path, labels("1")), LABELS == 1)
    np.testing.assert_array_equal(read_mask(path, labels("1,4")), (LABELS == 1) | (LABELS == 4))
    with pytest.raises(UserError, match="--labels one is invalid: give values such as 1 or 1,2,4"):
        read_mask(path, labels("one"))


def test_volumes_have_labels_too(tmp_path):
    voxels = np.stack([LABELS, LABELS * 0], axis=2)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "mask.nii.gz")
    volume = read_volume(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(read_volume_mask(tmp_path / "mask.nii.gz", volume, labels("2,4")), voxels >= 2)
    with pytest.raises(ImageError, match="has the values 1, 2 and 4 besides 0"):
        read_volume_mask(tmp_path / "mask.nii.gz", volume)


def test_any_channel_counts(tmp_path):
    """(1, 0, 0) has a luminance of 0.3, which rounds to 0."""
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[0, 1] = (1, 0, 0)
    np.testing.assert_array_equal(read_mask(saved(tmp_path, pixels)), [[False, True], [False, False]])


def test_colors_are_labels(tmp_path):
    pixels = np.zeros((1, 3, 3), np.uint8)
    pixels[0, 1], pixels[0, 2] = (255, 0, 0), (0, 255, 0)
    path = saved(tmp_path, pixels)
    with pytest.raises(ImageError, match="has the colors 00ff00 and ff0000 besides 0"):
        read_mask(path)
    np.testing.assert_array_equal(read_mask(path, labels("ff0000")), [[False, True, False]])


def test_alpha_is_the_mask_if_only_alpha_varies(tmp_path):
    pixels = np.full((1, 3, 4), 255, np.uint8)
    pixels[0, :, 3] = 0, 255, 0
    np.testing.assert_array_equal(read_mask(saved(tmp_path, pixels)), [[False, True, False]])


def test_transparent_pixels_are_not_tumor_even_if_all_are(tmp_path):
    white = np.full((3, 4, 4), 255, np.uint8)
    white[..., 3] = 0
    assert not read_mask(saved(tmp_path, white)).any()


def test_the_value_of_a_palette_is_its_index_whatever_else_is_in_the_file(tmp_path):
    for pixels in (np.array([[0, 1]], np.uint8), np.array([[0, 1, 2]], np.uint8)):
        image = Image.fromarray(pixels, "P")
        image.putpalette([0, 0, 0, 255, 255, 255, 255, 0, 0])
        image.save(tmp_path / "p.png")
        np.testing.assert_array_equal(read_mask(tmp_path / "p.png", labels("1")), pixels == 1)
        # A threshold is about brightness.
        np.testing.assert_array_equal(read_mask(tmp_path / "p.png", PairingOptions(mask_threshold=128)), pixels > 0)


def test_labels_and_a_threshold_contradict_each_other(tmp_path):
    with pytest.raises(UserError, match="contradict each other: give only one"):
        read_mask(saved(tmp_path, LABELS), PairingOptions(labels="1", mask_threshold=1))


def test_a_threshold_reads_masks_with_soft_borders(tmp_path):
    path = saved(tmp_path, np.array([[0, 3, 120, 130, 255]], np.uint8))
    with pytest.raises(ImageError, match="has the values 3, 120, 130 and 255 besides 0"):
        read_mask(path)
    soft = PairingOptions(mask_threshold=128)
    np.testing.assert_array_equal(read_mask(path, soft), [[False, False, False, True, True]])


@pytest.mark.parametrize(("dtype", "largest", "half"), [(np.uint16, 65535, "32768"), (np.float32, 1, "0.5")])
def test_the_advised_threshold_is_half_of_the_largest_value(dtype, largest, half, tmp_path):
    values = (np.linspace(0, 1, 20) * largest).astype(dtype)[np.newaxis]
    path = tmp_path / "mask.tif"
    Image.fromarray(values).save(path)
    with pytest.raises(ImageError, match=f"such as --mask-threshold {half}\\.$"):
        read_mask(path)
    np.testing.assert_array_equal(read_mask(path, PairingOptions(mask_threshold=float(half))), values >= float(half))


def test_many_values_are_not_listed(tmp_path):
    with pytest.raises(ImageError, match="has 9 values besides 0, but .*--mask-threshold 5"):
        read_mask(saved(tmp_path, np.arange(10, dtype=np.uint8)[np.newaxis]))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_one_bright_spot_does_not_darken_an_image_with_more_than_8_bits(dtype, tmp_path):
    """200 values from 0 to 199 in each row; the percentiles are 1 and 198, without the spot."""
    pixels = np.tile(np.arange(200), (20, 1)).astype(dtype)
    pixels[0, 0] = 60_000
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    grey = read_image(tmp_path / "a.tif")
    assert len(np.unique(grey)) > 150 and grey[1, 1] <= 1 and grey[1, 198] >= 254
    np.save(tmp_path / "a.npy", pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy"), grey)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_other_formats_are_read(suffix, tmp_path):
    grey = np.tile(np.arange(0, 240, 10, dtype=np.uint8), (8, 1))
    Image.fromarray(grey).save(tmp_path / f"a{suffix}", **({"lossless": True} if suffix == ".webp" else {}))
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), grey)


def test_a_channel_of_color_images(tmp_path):
    path = saved(tmp_path, np.array([[[10, 20, 30]]], np.uint8))
    for channel, value in (("red", 10), ("green", 20), ("blue", 30), ("grey", 18), (None, 18)):
        assert read_image(path, ReadingOptions(channel=channel))[0, 0] == value


def test_a_run_knows_its_labels_and_its_channel(phantoms, tmp_path):
    for path in sorted((phantoms / "images").iterdir()):
        grey = read_image(path)
        write_image(tmp_path / "data/images" / path.name, np.dstack([grey, 0 * grey, 0 * grey]))
        write_image(tmp_path / "data/masks" / path.name, 2 * read_mask(phantoms / "masks" / path.name).astype(np.uint8))
    chosen = ["--labels", "2", "--channel", "blue"]  # write_image takes BGR
    done = run_script("train", "--data", "data", "--name", "two", *chosen, *TINY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert run_script("evaluate", "runs/two", cwd=tmp_path).returncode == 0
    arguments = ["data/images", "--run", "runs/two", "--output", "out"]
    assert run_script("predict", *arguments, cwd=tmp_path).returncode == 0
    assert '"channel": "blue"' in (tmp_path / "out/prediction.json").read_text()
