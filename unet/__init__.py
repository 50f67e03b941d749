"""A U-Net, written from scratch, that outlines brain tumors in MRI slices."""

__version__ = "0.1.0"
