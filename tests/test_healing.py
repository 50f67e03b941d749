"""Healing and grafting, on small heads drawn by hand."""

from dataclasses import dataclass

import cv2
import numpy as np

from unet.data.healing import AlteredSlices, align, graft, heal, transplant

SIZE = 128


@dataclass(frozen=True)
class Drawn:
    """What healing needs of Slices."""

    images: np.ndarray
    masks: np.ndarray


def head(shift: int = 0) -> np.ndarray:
    """A symmetric head with a bright ventricle on both sides of a dark midline, uint8 (SIZE, SIZE)."""
    image = np.zeros((SIZE, SIZE), np.uint8)
    center = SIZE // 2 + shift
    cv2.ellipse(image, (center, 64), (42, 54), 0, 0, 360, 100, -1)
    for side in (-1, 1):
        cv2.ellipse(image, (center + 14 * side, 56), (7, 20), 8 * side, 0, 360, 160, -1)
    cv2.line(image, (center, 20), (center, 108), 60, 2)
    return cv2.GaussianBlur(image, (0, 0), 1.5)


def with_tumor(image: np.ndarray, x: int, y: int) -> tuple[np.ndarray, np.ndarray]:
    """The image with a white disc, and the mask of the disc."""
    mask = cv2.circle(np.zeros_like(image), (x, y), 7, 1, -1)
    return np.where(mask > 0, 255, image).astype(np.uint8), mask


def test_a_tumor_is_replaced_by_the_other_hemisphere():
    healthy = head(shift=3)
    image, mask = with_tumor(healthy, x=46, y=84)
    healed = heal(Drawn(image[np.newaxis], mask[np.newaxis]), np.array([0]), np.array(["a"]), mirror_only=True)
    assert healed.indices.tolist() == [0]
    difference = np.abs(healed.images[0].astype(int) - healthy)
    # Close to the head before it had a tumor, and unchanged elsewhere.
    assert np.abs(image.astype(int) - healthy).max() > 100 and difference.max() < 12
    away = cv2.dilate(mask, np.ones((25, 25), np.uint8)) == 0
    assert not difference[away].any()


def test_a_tumor_on_the_midline_has_no_healthy_mirror_image():
    image, mask = with_tumor(head(), x=64, y=84)
    healed = heal(Drawn(image[np.newaxis], mask[np.newaxis]), np.array([0]), np.array(["a"]), mirror_only=True)
    assert len(healed.indices) == 0 and healed.images.shape == (0, SIZE, SIZE)


def test_the_tissue_may_come_from_another_patient_but_never_from_another_slice_of_the_same():
    (first, mask), (second, other_mask) = with_tumor(head(), 64, 84), with_tumor(head(), 64, 36)
    slices = Drawn(np.stack([first, second]), np.stack([mask, other_mask]))
    assert heal(slices, np.arange(2), np.array(["a", "a"])).indices.tolist() == []
    healed = heal(slices, np.arange(2), np.array(["a", "b"]))
    assert healed.indices.tolist() == [0, 1]
    for image, slice_mask in zip(healed.images, slices.masks, strict=True):
        assert image[slice_mask > 0].max() < 180


def test_a_graft_leaves_the_tumor_alone_and_is_always_the_same():
    pairs = [with_tumor(head(), 46, 84) for _ in range(12)]
    slices = Drawn(*(np.stack(part) for part in zip(*pairs, strict=True)))
    patients = np.array([f"p{place}" for place in range(12)])
    grafted, again = (graft(slices, np.arange(12), patients, seed=0) for _ in range(2))
    assert len(grafted.indices) > 0
    np.testing.assert_array_equal(grafted.images, again.images)
    for index, image in zip(grafted.indices, grafted.images, strict=True):
        tumor = slices.masks[index] > 0
        np.testing.assert_array_equal(image[tumor], slices.images[index][tumor])


def test_different_heads_are_not_aligned():
    noise = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE)).astype(np.uint8)
    nothing = np.zeros((SIZE, SIZE), np.uint8)
    assert align(head(), noise, nothing, nothing) is None
    assert align(head(), nothing, nothing, nothing) is None  # there is no head


def test_alignment_finds_a_shift():
    nothing = np.zeros((SIZE, SIZE), np.uint8)
    transform = align(head(shift=-4), head(shift=4), nothing, nothing)
    np.testing.assert_allclose(transform, [[1, 0, 8], [0, 1, 0]], atol=0.6)


def test_tumors_in_either_head_do_not_disturb_the_alignment():
    nothing = np.zeros((SIZE, SIZE), np.uint8)
    for tumor_in_donor in (False, True):
        other, (ill, tumor) = head(shift=8), with_tumor(head(shift=-8), x=40, y=84)
        pair, tumors = ((other, ill), (nothing, tumor)) if tumor_in_donor else ((ill, other), (tumor, nothing))
        ignored = [cv2.dilate(mask, np.ones((9, 9), np.uint8)) for mask in tumors]
        shift = -16 if tumor_in_donor else 16
        np.testing.assert_allclose(align(*pair, *ignored), [[1, 0, shift], [0, 1, 0]], atol=0.6)


def test_a_donor_with_a_tumor_in_the_region_is_refused():
    region = cv2.circle(np.zeros((SIZE, SIZE), np.uint8), (46, 84), 8, 1, -1)
    image, nothing = head(), np.zeros((SIZE, SIZE), np.uint8)
    assert transplant(image, region, image, nothing, region) is not None
    assert transplant(image, region, image, region, region) is None


def test_altered_slices_are_found_by_index():
    altered = AlteredSlices(np.array([2, 5]), np.array([[[2]], [[5]]], np.uint8))
    assert altered.find(5) == 5 and altered.find(2) == 2
    assert altered.find(3) is None and altered.find(6) is None and AlteredSlices.none().find(0) is None
