"""Make docs/tour.ipynb from docs/tour.py: run its cells in an empty folder, and keep what they print and draw.

Usage:

    python docs/notebook.py

A line "# %%" starts a cell of code, and "# %% [markdown]" one of text, as in editors that run such files cell by cell.
"""

import ast
import base64
import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ["MPLBACKEND"] = "agg"  # draws into files
FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))


def cells_of(script: str) -> list[tuple[str, str]]:
    """The kind of each cell, "code" or "markdown", and its text."""
    cells = []
    for part in ("\n" + script).split("\n# %%")[1:]:
        heading, _, text = part.partition("\n")
        is_text = "[markdown]" in heading
        if is_text:
            text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in text.splitlines())
        cells.append(("markdown" if is_text else "code", text.strip()))
    return cells


def run_cell(source: str, names: dict[str, object]) -> list[dict]:
    """Run a cell with the names of those before it; returns what it prints, draws and ends with, as in a notebook."""
    import matplotlib.pyplot as plt

    tree = ast.parse(source)
    last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(tree, "tour.py", "exec"), names)
        value = eval(compile(last, "tour.py", "eval"), names) if last else None
    outputs = []
    if printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": lines(printed.getvalue())})
    for number in plt.get_fignums():
        picture = io.BytesIO()
        plt.figure(number).savefig(picture, format="jpeg")  # a third of the size of PNG
        data = {"image/jpeg": base64.b64encode(picture.getvalue()).decode()}
        outputs.append({"output_type": "display_data", "data": data, "metadata": {}})
    plt.close("all")
    if value is not None:
        data = {"text/plain": lines(repr(value))}
        if hasattr(value, "_repr_html_") and (page := value._repr_html_()):
            data["text/html"] = lines(page)
        outputs.append({"output_type": "display_data", "data": data, "metadata": {}})
    return outputs


def make(script: str) -> dict:
    """The notebook of a script; runs all cells in the current folder."""
    names, cells = {}, []
    for kind, text in cells_of(script):
        cell = {"cell_type": kind, "metadata": {}, "source": lines(text)}
        if kind == "code":
            cell |= {"execution_count": None, "outputs": run_cell(text, names)}
        cells.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 4}


def lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


if __name__ == "__main__":
    script = (FOLDER / "tour.py").read_text()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        notebook = make(script)
    (FOLDER / "tour.ipynb").write_text(json.dumps(notebook, indent=1) + "\n")
