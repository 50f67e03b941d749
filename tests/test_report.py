"""report.html in a headless browser: it opens, sorts, filters and enlarges without a network."""

import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import write_image
from ready import run_script

from unet.images.reading import read_image
from unet.network.presence import PresenceRule
from unet.options import ReadingOptions
from unet.pictures import evaluation_plots, training_plots
from unet.pictures.page import Card, Report, Sort, Tile, contour_path, embed_picture, outlined_tile, render
from unet.pictures.style import in_our_style
from unet.pictures.table import Table
from unet.prediction.inputs import Input
from unet.prediction.output import OutputFolder
from unet.prediction.report import headline_cards, make_tile, most_doubtful
from unet.prediction.rows import PredictionRow
from unet.tables import read_table

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        # Root can run Chromium only without its own sandbox.
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, tmp_path):
    """visit(path) opens a page. Any network request, console message or error fails the test."""
    complaints = []
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda request: None if request.url.startswith(("file:", "data:")) else complaints.append(request.url),
    )

    def open_page(path):
        page.goto(path.as_uri())
        return page

    yield open_page
    assert not complaints
    page.close()


def tile(number: int, group: str, dice: float | None) -> Tile:
    image = np.full((40, 60), number % 200, np.uint8)
    image[10:20, 10:30] = 255
    mask = image == 255
    made = outlined_tile(str(number), image, mask, mask.astype(np.float32), threshold=0.5)
    return replace(made, groups=[group], sort={"dice": dice}, about={"number": str(number)})


def page_of(tiles: list[Tile], **content) -> str:
    report = Report(
        title="T",
        lead=[],
        cards=[Card("Dice", "0.5", "")],
        tables=[],
        plots=[],
        tiles_title="Slices",
        tiles_lead="",
        tiles=tiles,
        sorts=[Sort("lowest", "dice"), Sort("highest", "dice", -1)],
        outlines={"truth": "truth", "prediction": "network"},
    )
    return render(replace(report, **content))


def labels(page) -> list[str]:
    # Not inner texts, which are empty until the browser lays out a tile.
    return page.locator(".tile span").all_text_contents()


def test_sorts_filters_and_enlarges(visit, tmp_path):
    tiles = [tile(1, "a", 0.5), tile(2, "b", 0.1), tile(3, "a", None), tile(4, "b", 0.9)]
    path = tmp_path / "report.html"
    path.write_text(page_of(tiles))
    page = visit(path)
    assert labels(page) == ["2", "1", "4", "3"]  # a tile without a value comes last
    page.select_option("#sort", label="highest")
    assert labels(page) == ["4", "1", "2", "3"]
    page.select_option("#filter", label="b (2)")
    assert labels(page) == ["4", "2"] and page.inner_text("#count") == "2 shown"
    # By keyboard: enlarge the first slice, move to the next, wrap around, and close.
    page.focus(".tile")
    page.keyboard.press("Enter")
    assert page.inner_text("#about dd") == "4"
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#about dd") == "2"
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#about dd") == "4"
    page.keyboard.press("Escape")
    assert not page.is_visible("#large")
    assert page.evaluate("document.activeElement.textContent.trim()") == "4"


def test_the_slider_fades_the_outlines(visit, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(page_of([tile(1, "a", 0.5)]))
    page = visit(path)

    def opacity() -> str:
        return page.evaluate("getComputedStyle(document.querySelector('path.truth')).opacity")

    assert opacity() == "1"
    page.focus("#contours")
    page.keyboard.press("Home")
    assert opacity() == "0"
    page.wait_for_function("document.querySelector('.tile image').href.baseVal.startsWith('data:')")


def test_names_cannot_inject_html(visit, tmp_path):
    evil = "</script><script>console.log('ran')</script><b>"
    path = tmp_path / "report.html"
    path.write_text(
        page_of(
            [tile(1, evil, 0.5)], title=evil, cards=[Card(evil, evil, evil)], tables=[Table(evil, [[evil], [evil]])]
        )
    )
    page = visit(path)
    assert page.title() == evil and page.locator("#filter option").nth(1).inner_text()[:9] == evil[:9]


@pytest.mark.slow  # it measures time, so nothing else may run
def test_a_thousand_slices_open_within_two_seconds(visit, tmp_path):
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (256, 256)).astype(np.uint8)  # slices compress better
    uri, width, height = embed_picture(noise)
    line = contour_path((noise > 250).astype(np.float32)[:40, :40], 0.5, 40)
    tiles = [
        Tile(str(i), uri[:-8] + f"{i:04d}AAA=", width, height, line, groups=["a"], sort={"dice": i / 1000})
        for i in range(1000)
    ]
    path = tmp_path / "report.html"
    path.write_text(page_of(tiles[:1]))
    visit(path)  # the first page also waits for the browser to start
    path.write_text(page_of(tiles))
    start = time.monotonic()
    page = visit(path)
    assert len(labels(page)) == 1000
    assert time.monotonic() - start < 2


def test_fits_a_phone(visit, tmp_path):
    long = [["", *"abcdefghijklmnopqrstuvwxyz"], ["0.123 (0.100 to 0.200)"] * 27]
    path = tmp_path / "report.html"
    path.write_text(page_of([tile(1, "a", 0.5)], tables=[Table("wide", long)], title="long " * 20))
    page = visit(path)
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_dollar_in_a_name_is_not_a_formula(tmp_path):
    square = np.zeros((1, 8, 8), np.float32)
    path = tmp_path / "samples.png"
    in_our_style(training_plots.draw_samples)((square, square > 0, square), 0.5, ["a$_$b"], "heading", path)
    assert path.stat().st_size > 500


def test_curves_without_validation(tmp_path):
    row = {"loss": 0.5, "dice": 0.6, "learning_rate": 1e-3, "val_loss": "", "val_dice": "", "val_dice_raw": ""}
    in_our_style(training_plots.draw_curves)([row | {"epoch": 1}, row | {"epoch": 2}], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 500


def test_plots_are_svg(tmp_path):
    rows = [{"dice": 0.5, "tumor": "a"}, {"dice": 0.7, "tumor": "b"}]
    svg = evaluation_plots.draw_dice_histogram(rows, tmp_path / "plot.png")
    text = page_of([], plots=[("Dice & more", svg)])
    assert 'alt="Dice &amp; more" src="data:image/svg+xml;base64,' in text


# Without and with a presence rule.
UNDECIDED = {"presence_rule": None, "always_outline": False}
DECIDED = {"presence_rule": asdict(PresenceRule(1, 0, 0.05, 0.02, 0.1)), "always_outline": False}


@pytest.mark.parametrize(
    ("settings", "judgment", "label", "groups"),
    [
        (UNDECIDED, {"tumor_pixels": 20}, "tumor outlined", ["not judged", "tumor outlined"]),
        (
            UNDECIDED,
            {"tumor_pixels": 20, "expected_dice": 0.8},
            "expected Dice 0.80",
            ["not marked for review", "tumor outlined"],
        ),
        (UNDECIDED, {"tumor_pixels": 0}, "nothing outlined", ["not judged", "nothing outlined"]),
        (UNDECIDED, {"tumor_pixels": 0, "review": "nothing outlined"}, "nothing outlined", ["nothing outlined"]),
        (
            DECIDED,
            {"tumor_pixels": 0, "tumor_probability": 0.02},
            "no tumor found (0.02)",
            ["not marked for review", "no tumor found"],
        ),
        (
            DECIDED,
            {"tumor_pixels": 0, "tumor_probability": 0.004},
            "no tumor found (<0.01)",
            ["not marked for review", "no tumor found"],
        ),
        (
            DECIDED,
            {"tumor_pixels": 20, "tumor_probability": 0.996, "expected_dice": 0.8},
            "tumor >0.99, expected Dice 0.80",
            ["not marked for review", "tumor outlined"],
        ),
        (
            DECIDED,
            {"tumor_pixels": 0, "tumor_probability": 0.04, "review": "tumor uncertain"},
            "no tumor found (0.04), tumor uncertain",
            ["tumor uncertain", "no tumor found"],
        ),
        (
            DECIDED,
            {"tumor_pixels": 20, "tumor_probability": 0.06, "expected_dice": 0.8, "review": "tumor uncertain"},
            "tumor 0.06, expected Dice 0.80, tumor uncertain",
            ["tumor uncertain", "tumor outlined"],
        ),
        (
            DECIDED,
            {"tumor_pixels": 0, "tumor_probability": 0.9, "review": "nothing outlined"},
            "nothing outlined",
            ["nothing outlined"],
        ),
        (
            DECIDED,
            {"tumor_pixels": 0, "tumor_probability": 0.9, "review": "unlike training data"},
            "nothing outlined, unlike training data",
            ["unlike training data", "nothing outlined"],
        ),
    ],
)
def test_what_a_tile_says(tmp_path, settings, judgment, label, groups):
    write_image(tmp_path / "a.png", np.zeros((20, 20), np.uint8))
    mask = np.eye(20, dtype=np.uint8) * 255 if judgment["tumor_pixels"] else np.zeros((20, 20), np.uint8)
    write_image(tmp_path / "masks" / "a.png", mask)
    result = Input(str(tmp_path / "a.png"), "a"), PredictionRow(str(tmp_path / "a.png"), **judgment)
    made = make_tile(0, result, OutputFolder(tmp_path, settings, []), ReadingOptions())
    assert made.label == f"a.png: {label}" and made.groups == groups
    assert bool(made.prediction) == bool(judgment["tumor_pixels"])


UNLIKE, UNCERTAIN = "unlike training data", "tumor uncertain"
ROWS = [
    PredictionRow("none", tumor_pixels=0, tumor_probability=0.01),
    PredictionRow("nearly", tumor_pixels=0, tumor_probability=0.02),
    PredictionRow("sure", tumor_pixels=9, tumor_probability=0.99, expected_dice=0.9),
    PredictionRow("far above", tumor_pixels=9, tumor_probability=0.1, expected_dice=0.1, review=UNCERTAIN),
    PredictionRow("above", tumor_pixels=9, tumor_probability=0.07, expected_dice=0.8, review=UNCERTAIN),
    PredictionRow("below", tumor_pixels=0, tumor_probability=0.04, review=UNCERTAIN),
    PredictionRow("odd", tumor_pixels=9, tumor_probability=0.99, expected_dice=0.7, review=UNLIKE),
    PredictionRow("odder", tumor_pixels=9, tumor_probability=0.99, expected_dice=0.6, review=UNLIKE),
    PredictionRow("odd, empty", tumor_pixels=0, tumor_probability=0.01, review=UNLIKE),
]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        # The decision threshold is 0.05: "below" is 0.01 away, "above" 0.02 and "far above" 0.05.
        (4, "odder, odd, below, above"),
        (5, "odder, odd, odd, empty, below, above"),
        (9, "odder, odd, odd, empty, below, above, far above, sure, nearly, none"),
    ],
)
def test_the_most_doubtful_have_different_reasons(count, expected):
    results = [(Input(row.path, row.path), row) for row in ROWS]
    shown = most_doubtful(results, count, OutputFolder(Path(), DECIDED, []))
    assert ", ".join(row.path for _, row in shown) == expected


def test_headline_cards():
    skipped = PredictionRow("x", status="not readable")
    cards = headline_cards([*ROWS, skipped], OutputFolder(Path(), DECIDED, []))
    assert cards == [
        Card("Tumor outlined", "5", "of 10 files; 1 skipped"),
        Card("No tumor found", "4", "tumor probability below 0.05"),
        Card("To review", "6", "3 tumor uncertain, 3 unlike training data"),
        Card("Expected Dice", "0.70", "median of images with an outline"),
    ]
    cards = headline_cards([ROWS[0], replace(ROWS[0], slices=9)], OutputFolder(Path(), DECIDED, []))
    assert cards[1] == Card("No tumor found", "2", "tumor probability below 0.05 or 0.5 (scans)")
    cards = headline_cards(ROWS[:1], OutputFolder(Path(), DECIDED | {"always_outline": True}, []))
    assert cards[1] == Card("Nothing outlined", "1", "no pixel reaches the threshold")


def test_evaluation_and_prediction_write_a_report(visit, trained, phantoms, tmp_path):
    done = run_script("evaluate", trained, "--output", tmp_path / "ev", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = visit(tmp_path / "ev" / "report.html")
    rows = read_table(tmp_path / "ev" / "per_slice.csv")
    assert page.inner_text("#count") == f"{len(rows)} shown"
    assert page.locator("path.truth").count() == sum(row["truth_pixels"] != "0" for row in rows)
    done = run_script("predict", phantoms / "images", "--run", trained, "--output", tmp_path / "pr", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = visit(tmp_path / "pr" / "report.html")
    assert page.inner_text("#count") == f"{len(list((phantoms / 'images').iterdir()))} shown"


def test_pages_about_given_masks_show_nothing_that_only_a_network_has(visit, phantoms, tmp_path):
    shutil.copytree(phantoms / "masks", tmp_path / "other")
    some = sorted((tmp_path / "other").iterdir())[:10]
    for path in some:
        write_image(path, np.roll(read_image(path), 3, axis=1))
    for masks, name in (
        (["other"], "evaluation-phantoms"),
        (["other", phantoms / "masks"], "compared-with-phantoms-on-phantoms"),
    ):
        done = run_script("evaluate", "--masks", *masks, "--data", phantoms, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        page = visit(tmp_path / "runs/masks-other" / name / "report.html")
        text = page.inner_text("body")
        assert page.inner_text("#count") == "50 shown" and "NaN" not in text and "None" not in text
        for absent in ("ROC", "alibration", "robability", "xpected Dice", "network"):
            assert absent not in text
