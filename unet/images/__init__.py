"""Read and write images, NIfTI and DICOM files, and preprocess them."""
