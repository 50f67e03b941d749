"""Files in and out: images, NIfTI and DICOM, and preprocessing."""
