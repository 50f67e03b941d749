"""Train and score a run if that is not done yet, for the benchmarks that train."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def train_and_score(run: Path, arguments: list) -> Path:
    """Train runs/NAME with these arguments, or resume it, and score its validation slices.

    Returns the folder with the scores.
    """
    if not (run / "metrics.json").exists():
        has_started = any(run.glob("checkpoint-*.npz"))
        options = ["--resume", run] if has_started else [*arguments, "--name", run.name]
        subprocess.run([sys.executable, ROOT / "train.py", *map(str, options)], check=True)
    return score(run, "evaluation-val")


def score(run: Path, name: str, *options: str) -> Path:
    """Score the validation slices of a run with options of evaluate.py, if that is not done yet.

    Returns the folder with the scores, which has this name.
    """
    scores = run / name
    if not (scores / "summary.json").exists():
        subprocess.run([sys.executable, ROOT / "evaluate.py", run, "--output", scores, *options], check=True)
    return scores
