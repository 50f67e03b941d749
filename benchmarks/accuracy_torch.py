"""Worker of accuracy.py in the peers' environment: trains a PyTorch network."""

import json
import math
import sys
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from speed_torch import NETWORKS, loss_of
from timing import print_figures
from torch import Tensor, nn


def augment(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Random rotation, scaling, shift, mirroring, gamma and brightness, in the same ranges as ours."""
    count = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(count).uniform_(low, high)

    moves = torch.rand(count) < 0.8
    angle = torch.where(moves, uniform(-math.pi / 6, math.pi / 6), 0.0)
    scale = torch.where(moves, torch.exp(uniform(math.log(0.7), math.log(1.4))), 1.0)
    flip = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    shift_x, shift_y = (torch.where(moves, uniform(-0.16, 0.16), 0.0) for _ in range(2))
    cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
    rows = [torch.stack([cosine * flip, sine, shift_x], 1)]
    rows += [torch.stack([-sine * flip, cosine, shift_y], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), images.shape, align_corners=False)
    images = F.grid_sample(images, grid, align_corners=False)
    masks = F.grid_sample(masks, grid, mode="nearest", align_corners=False)
    gamma = torch.where(torch.rand(count) < 0.4, uniform(0.7, 1.5), 1.0)
    factor = torch.where(torch.rand(count) < 0.3, uniform(0.75, 1.25), 1.0)
    return images ** gamma.view(-1, 1, 1, 1) * factor.view(-1, 1, 1, 1), masks


def validation_dice(network: nn.Module, images: Tensor, masks: Tensor, batch: int) -> float:
    """Mean Dice over slices at threshold 0.5."""
    network.eval()
    scores = []
    with torch.inference_mode():
        for some, truth in zip(images.split(batch), masks.split(batch), strict=True):
            outputs = network(some)
            logits = (outputs if isinstance(outputs, Tensor) else outputs[0]).float()
            truth, predicted = truth > 0.5, logits.sigmoid() >= 0.5
            both = (truth & predicted).sum((1, 2, 3))
            total = truth.sum((1, 2, 3)) + predicted.sum((1, 2, 3))
            scores += (2 * both / total.clamp(min=1)).tolist()
    network.train()
    return float(np.mean(scores))


def train(job: dict) -> None:
    """Train for job["steps"] steps, and print the Dice after every job["steps_between_points"].

    It uses AdamW, with a warm-up and a cosine over the steps.
    """
    torch.manual_seed(0)
    layout = torch.channels_last if job["mode"].endswith("nhwc") else torch.contiguous_format
    images, masks, val_images, val_masks = (
        torch.from_numpy(array).unsqueeze(1) for name, array in np.load(job["slices"]).items()
    )
    val_images = (val_images.float() / 255).contiguous(memory_format=layout)
    network = NETWORKS[job["network"]](images.shape[-1]).to(memory_format=layout).train()
    run = network
    if job["mode"].startswith("compile"):
        run = torch.compile(network, options={"layout_optimization": layout == torch.channels_last})
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=job["precision"] == "bfloat16")
    optimizer = torch.optim.AdamW(network.parameters(), job["learning_rate"], weight_decay=0.01, fused=True)
    batches = endless_batches(len(images), job["batch"])

    def step(done: float) -> None:
        """One training step. `done` is the fraction of the schedule that has passed."""
        rate = min(done / job["warmup"], 0.5 + 0.5 * math.cos(math.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = job["learning_rate"] * rate
        chosen = next(batches)
        batch, truth = augment(images[chosen].float() / 255, masks[chosen].float())
        optimizer.zero_grad()
        with autocast:
            outputs = run(batch.contiguous(memory_format=layout))
        loss_of(outputs, truth).backward()
        optimizer.step()

    for number in range(1, job["steps"] + 1):
        step(number / job["steps"])
        if number % job["steps_between_points"] == 0 or number == job["steps"]:
            with autocast:
                dice = validation_dice(network, val_images, val_masks, job["batch"])
            print_figures({"slices": number * job["batch"], "val_dice": dice})


def endless_batches(count: int, batch: int) -> Iterator[Tensor]:
    """Indices of full batches, in a different order in each epoch."""
    while True:
        yield from torch.randperm(count)[: count // batch * batch].split(batch)


if __name__ == "__main__":
    train(json.loads(sys.argv[1]))
