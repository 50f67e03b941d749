"""What benchmarks share: where the project is, who measured, and training and scoring a run if that is not done yet."""

import subprocess
import sys
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # `import unet` finds this project, even if it is not installed


def provenance(**versions: str) -> dict[str, object]:
    """Date, machine and versions of a measurement, with versions of other programs."""
    from unet.machine import installed_versions, machine_description

    return {
        "date": f"{datetime.now():%Y-%m-%d}",
        "machine": machine_description(),
        "versions": installed_versions() | versions,
    }


def run_script(script: str, *arguments: object) -> None:
    """Run a script of this project with these arguments; an error ends the benchmark."""
    subprocess.run([sys.executable, ROOT / script, *map(str, arguments)], check=True)


def train_and_score(run: Path, arguments: list, split: str = "val") -> Path:
    """Train runs/NAME with these arguments, or resume it, and score the slices of a split.

    Returns the folder with the scores.
    """
    if not (run / "metrics.json").exists():
        has_started = any(run.glob("checkpoint-*.npz"))
        options = ["--resume", run] if has_started else [*arguments, "--name", run.name]
        run_script("train.py", *options)
    return score(run, f"evaluation-{split}", "--split", split)


def score(run: Path, name: str, *options: str) -> Path:
    """Score a run, by default its validation slices, with options of evaluate.py, if that is not done yet.

    Returns the folder with the scores, which has this name.
    """
    scores = run / name
    if not (scores / "report.html").exists():
        run_script("evaluate.py", run, "--output", scores, *options)
    return scores
