"""Fingerprints of slices: hashes by which a slice is recognized under another name, or with another mask."""

import hashlib

import numpy as np


def fingerprints_of(image: np.ndarray, mask: np.ndarray) -> tuple[str, str]:
    """Hash of a slice's image alone, and that hash with one of the mask. They do not depend on file names or
    compression. The hash of a blank image is "", as such slices are equal in many scans."""
    of_image = hashlib.sha256(str(image.shape).encode() + image.tobytes()).hexdigest()[:16] if np.ptp(image) else ""
    return of_image, f"{of_image}-{hashlib.sha256(mask.tobytes()).hexdigest()[:8]}"


def image_hash(fingerprint: str) -> str:
    """The hash of the image in the fingerprint of a slice."""
    return fingerprint.partition("-")[0]
