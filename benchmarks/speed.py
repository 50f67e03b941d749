"""Training and inference speed of our network and of others, compared with what the machine can do.

Usage:

    python benchmarks/speed.py --peers-python /tmp/venv-peers/bin/python

It waits until the machine is idle. requirements-peers.txt explains how to create the environment of the peers (the
PyTorch networks). Each network and setting runs in its own process, on random slices, and in bfloat16 only if the
machine supports it. Results are written to benchmarks/results/speed.json.
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
from running import ROOT
from timing import Job

from unet.files import write_json

Network = Literal[
    "ours", "author", "smp-lite0-imagenet", "smp-resnet18", "smp-resnet34", "monai-basicunet", "nnunet-plain"
]
PRECISIONS = ("float32", "bfloat16")
KERAS_MODES = {"ceiling": ["graph"], "ours": ["graph"], "author": ["graph", "xla"]}
# Channels last (nhwc) or first (nchw): networks with instance normalization may be faster with channels first.
TORCH_MODES = ["eager nhwc", "compile nhwc", "compile nchw"]
LONGEST_SECONDS = 3600
# Load average up to which the machine counts as idle.
IDLE = 0.3


@dataclass(frozen=True)
class SpeedOptions:
    """What to measure, and for how long."""

    peers_python: Path | None = None
    """Python of the peers' environment. Default: the PyTorch networks are skipped."""
    batch: int = 16
    """Slices per step."""
    size: int = 256
    """Side of a slice in pixels."""
    repetitions: int = 7
    """Least number of steps to time. Their median counts."""
    seconds: float = 15.0
    """Least time to repeat each step, in seconds."""
    only: tuple[Network, ...] = Network.__args__
    """Networks to measure."""
    settings_of: Path | None = None
    """Results of an earlier measurement. Other networks run only in the settings that were fastest there."""
    output: Path = ROOT / "benchmarks" / "results" / "speed.json"
    """File for the figures."""


def measure_all(options: SpeedOptions) -> dict:
    """Measure every network in every setting, and write the results after each."""
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
            settings = [("-", "-")]  # one line that says why there are no figures
        for precision, mode in settings:
            if precision == "bfloat16" and network != "ceiling" and not is_bfloat16_faster(results):
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


def is_bfloat16_faster(results: dict) -> bool:
    """Whether a single convolution is faster in bfloat16. If not, bfloat16 is emulated and extremely slow."""
    ceilings = [run for run in results["runs"] if run["network"] == "ceiling"]
    speeds = {run["precision"]: run.get("convolution", 0) for run in ceilings}
    return speeds["bfloat16"] > 1.2 * speeds["float32"]


def run(job: Job, peers_python: Path | None) -> dict:
    """Figures of one job, from its own process. If it fails, they contain an "error"."""
    is_keras = job.network in KERAS_MODES
    if not is_keras and not peers_python:
        return {"error": "needs --peers-python"}
    python = sys.executable if is_keras else peers_python
    worker = ROOT / "benchmarks" / ("speed_keras.py" if is_keras else "speed_torch.py")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    try:
        process = subprocess.run(
            [python, worker, json.dumps(asdict(job))],
            env=environment,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"error": str(error)}
    lines = [line for line in process.stdout.splitlines() if line.startswith("{")]
    figures = json.loads(lines[-1]) if lines else {}
    if process.returncode < 0:
        figures["error"] = f"ended by signal {-process.returncode} (9: out of memory)"
    elif process.returncode > 0:
        errors = re.findall(r"^[\w.]*(?:Error|Exception): .*", process.stderr, re.MULTILINE)
        figures["error"] = errors[-1] if errors else process.stderr[-200:]
    return figures


def best_run(runs: list[dict], network: str, phase: str) -> dict | None:
    """The fastest setting of a network in training or inference; None if no setting ran."""
    finished = [run for run in runs if run["network"] == network and phase in run]
    if not finished:
        return None
    best = max(finished, key=lambda run: run[phase]["slices_per_second"])
    return {key: best[key] for key in ("precision", "mode", "parameters", "flops")} | best[phase]


def ours_over_ceiling(runs: list[dict]) -> dict:
    """FLOP/s of our training, absolute and relative to a single convolution and a matrix product, by precision.

    A training step counts as three forward passes: forward, gradients of the inputs, and gradients of the weights.
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
    """One run as a line for the terminal."""
    text = f"{run['network']:16}{run['precision']:9} {run['mode']:13}"
    for name in ("convolution", "product"):
        text += f"{name} {run[name] / 1e9:.0f} GFLOP/s  " if name in run else ""
    for phase in ("training", "inference"):
        if phase in run:
            text += f"{phase} {run[phase]['slices_per_second']:.2f} slices/s  "
    return text + (f"FAILED: {run['error']}" if "error" in run else "")


def table(results: dict) -> str:
    """The best settings of each network, our fraction of the ceiling, and failed runs, for the terminal."""
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
            f"{share['over_convolution']:.0%} of a single convolution, "
            f"{share['over_product']:.0%} of a matrix product"
        )
    return "\n".join(lines + [line(run) for run in results["runs"] if "error" in run])


if __name__ == "__main__":
    print(table(measure_all(tyro.cli(SpeedOptions, description=__doc__))))
