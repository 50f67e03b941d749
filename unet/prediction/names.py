"""Names of the files in the output folder of a prediction, relative to it."""

from unet.images.folders import PREDICTION

MASKS, PROBABILITIES, OVERLAYS, SCANS = "masks", "probabilities", "overlays", "scans"
TABLE, REGIONS, SETTINGS = "predictions.csv", "regions.csv", PREDICTION
REPORT, CONTACT_SHEET = "report.html", "contact_sheet.jpg"
SHARD = "shard-"  # start of the folders of parts
NIIVUE = f"{SCANS}/niivue.umd.js"  # which the pages of scans need


def mask_name(name: str, is_volume: bool) -> str:
    return f"{MASKS}/{name}_mask.nii.gz" if is_volume else f"{MASKS}/{name}.png"


def probability_name(name: str, is_volume: bool) -> str:
    return f"{PROBABILITIES}/{name}.{'nii.gz' if is_volume else 'png'}"


def segmentation_name(name: str) -> str:
    """The mask of a DICOM series as DICOM-SEG."""
    return f"{MASKS}/{name}_seg.dcm"


def viewer_name(name: str) -> str:
    """A page that shows a scan."""
    return f"{SCANS}/{name}.html"


def regions_name(name: str) -> str:
    """The regions of a scan, with one row per region."""
    return f"{SCANS}/{name}_regions.csv"


def overlay_name(name: str, is_volume: bool) -> str:
    return f"{OVERLAYS}/{name}.{'png' if is_volume else 'jpg'}"
