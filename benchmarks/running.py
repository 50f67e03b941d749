"""What the benchmarks that train share: a run that is trained and scored unless it is there."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def train_and_score(run: Path, arguments: list) -> Path:
    """Train runs/NAME with those arguments and score its validation slices; what was stopped goes on.

    Returns the folder of the scores.
    """
    if not (run / "metrics.json").exists():
        begun = any(run.glob("checkpoint-*.npz"))
        options = ["--resume", run] if begun else [*arguments, "--name", run.name]
        subprocess.run([sys.executable, ROOT / "train.py", *map(str, options)], check=True)
    scores = run / "evaluation-val"
    if not (scores / "summary.json").exists():
        subprocess.run([sys.executable, ROOT / "evaluate.py", run], check=True)
    return scores
