"""The viewer page of a scan: what it contains, and how it works in a headless browser without a network."""

import base64
import gzip
import hashlib
import json
import re
import shutil
from dataclasses import replace

import cv2
import nibabel
import numpy as np
import pytest

from unet.pictures import viewer
from unet.pictures.style import PREDICTION
from unet.pictures.viewer import BUNDLE, MAX_VOXELS, Spot, shrink, shrink_affine, shrink_factors, viewer_page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
# Software rendering, which works on any machine.
GRAPHICS = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
SPOTS = [
    Spot(1, "Region 1: 12.3 ml, 41 x 33 mm", "tumor probability 0.97", (30.0, 25.0, 12.0)),
    Spot(2, "Region 2: 0.8 ml, 12 x 9 mm", "tumor probability 0.81", (-30.0, -25.0, -12.0)),
]
AFFINE = np.array([[5.0, 0, 0, -80], [0, 5, 0, -100], [0, 0, 12, -72], [0, 0, 0, 1]])


def scan(shape: tuple[int, int, int] = (32, 40, 12)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A grey box with a white mark at the right and in front, and its mask and probability: a box at each of SPOTS."""
    grey = np.zeros(shape, np.uint8)
    grey[4:28, 4:36, 1:11] = 90
    grey[26:28, 34:36, 1:11] = 255
    probability = np.zeros(shape, np.float32)
    for spot in SPOTS:
        x, y, z = np.rint((np.array(spot.place_mm) - AFFINE[:3, 3]) / np.diag(AFFINE)[:3]).astype(int)
        probability[x - 3 : x + 4, y - 3 : y + 4, z - 1 : z + 2] = 0.8
    return grey, probability > 0.5, probability


def page_of(title: str = "T", spots: list[Spot] = SPOTS, bundle: str = "niivue.umd.js") -> str:
    return viewer_page(title, *scan(), AFFINE, spots, bundle, "report.html")


def data_of(page: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', page)[1])


def image_of(text: str) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


def test_the_page_contains_the_scan_and_its_regions():
    page = page_of("patient_01")
    data = data_of(page)
    grey, mask, probability = scan()
    assert "<h1>patient_01</h1>" in page
    for name, voxels in {"grey": grey, "mask": mask, "probability": np.rint(probability * 255)}.items():
        image = image_of(data[name])
        assert image.get_data_dtype() == np.uint8 and np.array_equal(image.affine, AFFINE)
        assert np.array_equal(np.asarray(image.dataobj), voxels)
    assert [spot["label"] for spot in data["spots"]] == [spot.label for spot in SPOTS]


def test_the_page_is_the_same_every_time():
    assert page_of() == page_of()


def test_the_page_loads_the_bundle_and_links_to_the_report_and_nothing_else():
    urls = re.findall(r'(?:src|href)="([^"]*)"', page_of(bundle="../niivue.umd.js"))
    assert urls == ["data:,", "report.html", "../niivue.umd.js"]
    assert not re.search(r"https?:|\bfetch\(|\bimport\b|type=.module", page_of())


@pytest.mark.parametrize("title", ["<b>\"&'</b>", "</script><script>alert(1)</script>", "$title ${data} \\", "头部 é"])
def test_titles_and_labels_may_contain_any_characters(title):
    page = page_of(title, [replace(SPOTS[0], label=title)])
    assert page.count("<script") == 3 and "<b>" not in page
    assert data_of(page)["spots"][0]["label"] == title


def test_the_color_of_outlines_is_that_of_other_pictures():
    assert f"--prediction: {PREDICTION.lower()}" in page_of()


def test_the_bundle_is_the_file_of_the_readme():
    checksum = hashlib.sha256(BUNDLE.read_bytes()).hexdigest()
    assert f"`{checksum}`" in (BUNDLE.parent / "README.md").read_text()
    assert (BUNDLE.parent / "LICENSE").read_text().startswith("BSD 2-Clause License")


def test_a_scan_within_the_limit_keeps_its_voxels():
    assert shrink_factors((256, 256, 256), np.eye(4), MAX_VOXELS) == [1, 1, 1]


def test_the_finest_axes_shrink_first():
    # 0.5 x 0.5 x 2 mm: x becomes 1 mm, then y; 5 x 5 x 4 voxels are left.
    assert shrink_factors((10, 10, 4), np.diag([0.5, 0.5, 2, 1]), limit=100) == [2, 2, 1]
    # An axis of one voxel cannot shrink, however fine it is.
    assert shrink_factors((8, 8, 1), np.diag([1, 1, 0.1, 1]), limit=16) == [2, 2, 1]


def test_blocks_are_merged():
    row = np.array([0, 4, 1, 1, 9], np.float32).reshape(5, 1, 1)
    # The last block has one voxel: it repeats.
    assert shrink(row, [2, 1, 1], np.mean).ravel().tolist() == [2, 1, 9]
    assert shrink(row, [2, 1, 1], np.max).ravel().tolist() == [4, 1, 9]
    # Voxels of 2 x 1 x 1 mm; the center of the first block of 3 is the second voxel, at 10 + 2.
    affine = np.array([[2.0, 0, 0, 10], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert shrink_affine(affine, [3, 1, 1]).tolist() == [[6, 0, 0, 12], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_a_large_scan_is_shown_with_larger_voxels_and_keeps_a_region_of_one_voxel(monkeypatch):
    assert "blocks of" not in page_of()
    monkeypatch.setattr(viewer, "MAX_VOXELS", 4000)
    grey, _, probability = scan()
    mask = np.zeros(grey.shape, bool)
    mask[31, 39, 11] = True
    page = viewer_page("T", grey, mask, probability, AFFINE, [], "niivue.umd.js", "report.html")
    assert "blocks of 2 x 2 x 1 voxels" in page
    data = data_of(page)
    assert image_of(data["grey"]).shape == (16, 20, 12)
    found = image_of(data["mask"])
    assert np.argwhere(np.asarray(found.dataobj)).tolist() == [[15, 19, 11]]
    # The center of the block is half a voxel, 2.5 mm, before that of its last voxel.
    block, voxel = found.affine @ [15, 19, 11, 1], AFFINE @ [31, 39, 11, 1]
    assert (voxel - block).tolist() == [2.5, 2.5, 0, 0]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        # Root can run Chromium only without its own sandbox.
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *GRAPHICS])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, tmp_path):
    """visit(page) opens a page beside the bundle. Any network request, console error or exception fails the test."""
    complaints = []
    context = browser.new_context(viewport={"width": 900, "height": 600}, offline=True)
    tab = context.new_page()
    tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on(
        "request",
        lambda request: None if request.url.startswith(("file:", "data:")) else complaints.append(request.url),
    )
    shutil.copy(BUNDLE, tmp_path)

    def open_page(page, before="", ready="document.body.dataset.ready"):
        (tmp_path / "viewer.html").write_text(page)
        tab.add_init_script(before)
        tab.goto((tmp_path / "viewer.html").as_uri())
        tab.wait_for_function(ready, timeout=60_000)
        return tab

    yield open_page
    assert not complaints
    context.close()


def picture(tab) -> np.ndarray:
    """The picture as int (height, width, 3): red, green and blue."""
    content = np.frombuffer(tab.locator("#picture").screenshot(), np.uint8)
    return cv2.imdecode(content, cv2.IMREAD_COLOR)[:, :, ::-1].astype(int)


def orange_pixels(tab) -> int:
    red, _, blue = np.moveaxis(picture(tab), -1, 0)
    return np.count_nonzero(red > blue + 80)


def blue_pixels(tab) -> int:
    red, _, blue = np.moveaxis(picture(tab), -1, 0)
    return np.count_nonzero(blue > red + 40)


def set_slider(tab, name: str, value: int):
    """Move a slider, and wait until the page has acted on it."""
    tab.locator(f"#{name}").fill(str(value))
    tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def test_a_click_on_a_region_moves_the_crosshair_to_its_center(visit):
    tab = visit(page_of())
    # It starts at the first region. Centers are those of voxels.
    assert tab.inner_text("#position").replace("\xa0", " ") == "R 30.0, A 25.0, S 12.0"
    assert tab.inner_text("#probability") == "0.80"
    tab.click("text=Region 2")
    assert tab.inner_text("#position").replace("\xa0", " ") == "L 30.0, P 25.0, I 12.0"
    assert tab.get_attribute("#spots button >> nth=1", "aria-current") == "true"
    # By keyboard: the patient's left is on the right of the image, 5 mm per voxel.
    tab.focus("#canvas")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowUp")
    tab.keyboard.press("PageDown")
    assert tab.inner_text("#position").replace("\xa0", " ") == "L 35.0, P 20.0, I 24.0"


def test_sliders_fade_the_outline_and_the_probability(visit):
    tab = visit(page_of())
    tab.click("text=Axial")
    outlined, crosshair = orange_pixels(tab), blue_pixels(tab)
    # A line around 7 x 7 voxels, not a filled square: 2 pixels wide, with about 10 pixels per voxel.
    area = (7 * tab.evaluate("document.querySelector('canvas').height") / 40) ** 2
    assert 0.05 * area < outlined < 0.4 * area
    set_slider(tab, "outline-opacity", 0)
    assert orange_pixels(tab) == 0
    set_slider(tab, "probability-opacity", 100)
    assert blue_pixels(tab) > crosshair + 0.7 * area
    set_slider(tab, "probability-opacity", 0)
    assert blue_pixels(tab) == crosshair


def test_the_patients_right_is_on_the_left_and_the_front_is_up(visit):
    tab = visit(page_of(spots=[]))
    tab.click("text=Axial")
    grey = picture(tab)[30:-30, 30:-30]  # without the letters at the border
    rows, columns = np.nonzero(grey.min(axis=2) > 240)
    height, width = grey.shape[:2]
    assert len(rows) > 50 and rows.max() < height / 2 and columns.max() < width / 2


def test_the_window_makes_the_scan_brighter(visit):
    tab = visit(page_of(spots=[]))
    tab.click("text=Axial")
    before = np.median(picture(tab)[200:250, 200:250])
    set_slider(tab, "brightest", 120)
    assert tab.inner_text("#brightest + output") == "120"
    assert np.median(picture(tab)[200:250, 200:250]) == pytest.approx(before * 255 / 120, abs=5)
    # Black stays below white.
    set_slider(tab, "darkest", 200)
    assert tab.inner_text("#brightest + output") == "201"


def test_a_scan_without_a_tumor_says_so(visit):
    tab = visit(page_of(spots=[]))
    assert tab.inner_text("#spots") == "No tumor was found."


def test_it_says_that_webgl_is_missing(visit):
    tab = visit(
        page_of(),
        before="HTMLCanvasElement.prototype.getContext = () => null",
        ready="!document.getElementById('message').textContent.startsWith('Loading')",
    )
    assert tab.inner_text("#message").startswith("This browser has no WebGL 2")
    # The regions are listed all the same.
    assert tab.locator("#spots button:disabled").all_inner_texts()[0].startswith("Region 1: 12.3 ml")


def test_a_phone_shows_the_controls_below_the_picture(visit):
    tab = visit(page_of())
    tab.set_viewport_size({"width": 390, "height": 844})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    above, below = tab.locator("#picture").bounding_box(), tab.locator("main").bounding_box()
    assert above["width"] == 390 and below["y"] >= above["y"] + above["height"]
