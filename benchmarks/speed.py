"""Training and inference speed of our network beside others', and beside what the machine can do.

Usage:

    python benchmarks/speed.py --peers-python /tmp/venv-peers/bin/python

It waits until the machine is idle. requirements-peers.txt says how to make the peers' environment. Each
network and setting runs in a process of its own, on random slices; in bfloat16 only where the machine has it.
Results go to benchmarks/results/speed.json.
"""

import itertools
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import tyro
from timing import Job

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from unet.files import write_json  # noqa: E402

Network = Literal["ours", "author", "smp-resnet18", "smp-resnet34", "monai-basicunet", "nnunet-plain"]
PRECISIONS = ("float32", "bfloat16")
KERAS_MODES = {"ceiling": ["graph"], "ours": ["graph"], "author": ["graph", "xla"]}
# Channels last or first: networks with instance normalisation may be faster with channels first.
TORCH_MODES = ["eager nhwc", "compile nhwc", "compile nchw"]
LONGEST_SECONDS = 3600
# Mean number of processes that want a core.
IDLE = 0.3


@dataclass(frozen=True)
class SpeedOptions:
    """What to measure, and how long."""

    peers_python: Path | None = None
    """Python of the peers' environment; without it the PyTorch networks are skipped."""
    batch: int = 16
    """Slices a step."""
    size: int = 256
    """Pixels a side."""
    repetitions: int = 7
    """Steps, at least, whose median counts."""
    seconds: float = 15.0
    """Repeat each step for at least so long."""
    only: tuple[Network, ...] = Network.__args__
    """Networks to measure."""
    settings_of: Path | None = None
    """Results of an earlier run: of other networks only the settings that were the fastest there."""
    output: Path = ROOT / "benchmarks" / "results" / "speed.json"
    """Where all figures go."""


def measure_all(options: SpeedOptions) -> dict:
    """Run every network in every setting; results are written after each, so none is lost."""
    while (load := os.getloadavg()[0]) > IDLE:
        print(f"The machine is busy (load {load:.1f}): waiting.", flush=True)
        time.sleep(30)
    results = {
        "date": f"{datetime.now():%Y-%m-%d %H:%M}",
        "load_before": load,
        "batch": options.batch,
        "size": options.size,
        "versions": {},
        "runs": [],
    }
    fastest = {}
    if options.settings_of:
        earlier = json.loads(options.settings_of.read_text())
        results["settings_tried"] = earlier.get("settings_tried") or earlier["runs"]
        fastest = {network: best for network, best in earlier["best"].items() if network != "ours"}
    for network in ("ceiling", *options.only):
        settings = itertools.product(PRECISIONS, KERAS_MODES.get(network, TORCH_MODES))
        if network in fastest:
            phases = filter(None, fastest[network].values())
            settings = sorted({(phase["precision"], phase["mode"]) for phase in phases})
        if network not in KERAS_MODES and not options.peers_python:
            settings = [("-", "-")]  # one line says why there are no figures
        for precision, mode in settings:
            if precision == "bfloat16" and network != "ceiling" and not bfloat16_pays(results):
                continue
            amounts = (options.batch, options.size, options.repetitions, options.seconds)
            figures = run(Job(network, precision, mode, *amounts), options.peers_python)
            results["versions"] |= figures.pop("versions", {})
            if "machine" in figures:
                results["machine"] = figures.pop("machine")
            figures = {"network": network, "precision": precision, "mode": mode} | figures
            print(line(figures), flush=True)
            results["runs"].append(figures)
            write_json(options.output, results)
    results["best"] = {
        network: {phase: best_run(results["runs"], network, phase) for phase in ("training", "inference")}
        for network in options.only
    }
    results["ours_over_ceiling"] = ours_over_ceiling(results["runs"])
    write_json(options.output, results)
    return results


def bfloat16_pays(results: dict) -> bool:
    """Whether a lone convolution is faster in bfloat16 here: else it is emulated, and takes for ever."""
    ceilings = [run for run in results["runs"] if run["network"] == "ceiling"]
    speeds = {run["precision"]: run.get("convolution", 0) for run in ceilings}
    return speeds["bfloat16"] > 1.2 * speeds["float32"]


def run(job: Job, peers_python: Path | None) -> dict:
    """Figures of one job, from a process of its own; where it fails, its last words as "error"."""
    is_keras = job.network in KERAS_MODES
    if not is_keras and not peers_python:
        return {"error": "needs --peers-python"}
    python = sys.executable if is_keras else peers_python
    worker = ROOT / "benchmarks" / ("speed_keras.py" if is_keras else "speed_torch.py")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    try:
        process = subprocess.run(
            [python, worker, json.dumps(asdict(job))],
            env=environment, capture_output=True, text=True, timeout=LONGEST_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"error": str(error)}
    told = [text for text in process.stdout.splitlines() if text.startswith("{")]
    figures = json.loads(told[-1]) if told else {}
    if process.returncode < 0:
        figures["error"] = f"ended by signal {-process.returncode} (9: out of memory)"
    elif process.returncode > 0:
        errors = re.findall(r"^[\w.]*(?:Error|Exception): .*", process.stderr, re.MULTILINE)
        figures["error"] = errors[-1] if errors else process.stderr[-200:]
    return figures


def best_run(runs: list[dict], network: str, phase: str) -> dict | None:
    """The fastest setting of a network in training or inference; None where none ran."""
    finished = [run for run in runs if run["network"] == network and phase in run]
    if not finished:
        return None
    best = max(finished, key=lambda run: run[phase]["slices_per_second"])
    return {key: best[key] for key in ("precision", "mode", "parameters", "flops")} | best[phase]


def ours_over_ceiling(runs: list[dict]) -> dict:
    """FLOP/s of our training over those of a lone convolution and a matrix product, by precision.

    A training step counts as three forward passes: forward, gradients of inputs and of weights.
    """
    ceilings = {run["precision"]: run for run in runs if run["network"] == "ceiling" and "product" in run}
    shares = {}
    for run in runs:
        if run["network"] == "ours" and "training" in run and run["precision"] in ceilings:
            achieved = 3 * run["flops"] * run["training"]["slices_per_second"]
            ceiling = ceilings[run["precision"]]
            shares[run["precision"]] = {
                "flops_per_second": achieved,
                "over_convolution": achieved / ceiling["convolution"],
                "over_product": achieved / ceiling["product"],
            }
    return shares


def line(run: dict) -> str:
    """One run as a line of the terminal."""
    text = f"{run['network']:16}{run['precision']:9} {run['mode']:13}"
    for name in ("convolution", "product"):
        text += f"{name} {run[name] / 1e9:.0f} GFLOP/s  " if name in run else ""
    for phase in ("training", "inference"):
        if phase in run:
            text += f"{phase} {run[phase]['slices_per_second']:.2f} slices/s  "
    return text + (f"FAILED: {run['error']}" if "error" in run else "")


def table(results: dict) -> str:
    """Each network in its best settings, our share of the ceiling, and what failed."""
    lines = [
        f"\nThe best settings at {results['size']} px, batch {results['batch']}:",
        f"{'network':16}{'parameters':>12}{'GFLOP':>8}   {'training':46}inference",
    ]
    for network, best in results["best"].items():
        cells = []
        for figures in filter(None, best.values()):
            setting = f"{figures['precision']} {figures['mode']}"
            speed = f"{figures['slices_per_second']:7.2f}/s {figures['peak_memory_gib']:5.1f} GiB"
            about = f"{figures['parameters'] / 1e6:10.2f} M{figures['flops'] / 1e9:8.2f}"
            cells.append(f"   {speed}  {setting:23}")
        if cells:
            lines.append(f"{network:16}{about}{''.join(cells)}")
    for precision, share in results["ours_over_ceiling"].items():
        lines.append(
            f"ours, {precision}: trains at {share['flops_per_second'] / 1e9:.0f} GFLOP/s, "
            f"{share['over_convolution']:.0%} of a lone convolution's, "
            f"{share['over_product']:.0%} of a matrix product's"
        )
    return "\n".join(lines + [line(run) for run in results["runs"] if "error" in run])


if __name__ == "__main__":
    print(table(measure_all(tyro.cli(SpeedOptions, description=__doc__))))
