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
    scores = run / "evaluation-val"
    if not (scores / "summary.json").exists():
        subprocess.run([sys.executable, ROOT / "evaluate.py", run], check=True)
    return scores
