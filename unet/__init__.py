"""A U-Net, written from scratch, that outlines brain tumors in MRI slices."""
