"""The notebook docs/tour.ipynb is made from docs/tour.py, whose cells work in an empty folder."""

import json
import sys

import pytest
from ready import ROOT

sys.path.insert(0, str(ROOT / "docs"))
from notebook import cells_of, make

SCRIPT = (ROOT / "docs" / "tour.py").read_text()
NOTEBOOK = (ROOT / "docs" / "tour.ipynb").read_text()


def kinds_of_outputs(notebook):
    """What each cell of code shows: "text" that it prints, or the types of pictures and values."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [[sorted(output.get("data", ["text"])) for output in cell["outputs"]] for cell in cells]


def test_the_notebook_has_the_cells_of_the_script():
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(NOTEBOOK)["cells"]]
    assert cells == cells_of(SCRIPT), "run python docs/notebook.py"


def test_the_notebook_is_small_valid_and_without_paths_of_a_machine():
    assert len(NOTEBOOK) < 500_000
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(nbformat.reads(NOTEBOOK, as_version=4))
    for cell in json.loads(NOTEBOOK)["cells"]:
        for output in cell.get("outputs", []):
            shown = json.dumps(output.get("text", output.get("data", {}).get("text/plain")))
            assert "/tmp" not in shown and str(ROOT) not in shown


@pytest.mark.slow
def test_all_cells_work_and_show_what_the_notebook_shows(tmp_path, monkeypatch):
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    notebook = make(SCRIPT)
    assert kinds_of_outputs(notebook) == kinds_of_outputs(json.loads(NOTEBOOK))
    assert (tmp_path / "runs/tour/evaluation-val/report.html").exists()


def test_cells_are_split_at_their_marks():
    script = "# %% [markdown]\n# # Title\n#\n# text\n\n# %%\nx = 1  # %% not a mark\nx\n"
    assert cells_of(script) == [("markdown", "# Title\n\ntext"), ("code", "x = 1  # %% not a mark\nx")]
