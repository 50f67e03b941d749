"""Names of the files in the output folder of a prediction, relative to it."""

MASKS, OVERLAYS = "masks", "overlays"
TABLE, SETTINGS = "predictions.csv", "prediction.json"
REPORT, CONTACT_SHEET = "report.html", "contact_sheet.jpg"


def mask_name(name: str, is_volume: bool) -> str:
    return f"{MASKS}/{name}_mask.nii.gz" if is_volume else f"{MASKS}/{name}.png"


def segmentation_name(name: str) -> str:
    """The mask of a DICOM series as DICOM-SEG."""
    return f"{MASKS}/{name}_seg.dcm"


def overlay_name(name: str, is_volume: bool) -> str:
    return f"{OVERLAYS}/{name}.{'png' if is_volume else 'jpg'}"
