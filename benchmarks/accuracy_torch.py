"""Worker of accuracy.py in the peers' environment: trains a PyTorch network for some minutes."""

import json
import math
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from speed_torch import NETWORKS, PACKAGES, loss_of, version
from torch import Tensor, nn

LEARNING_RATE = 1e-3
WARMUP = 0.05
BATCH = 16


def augment(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation, scaling, shift, mirroring, gamma and brightness in the ranges that ours has."""
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


def validation_dice(network: nn.Module, run: nn.Module, images: Tensor, masks: Tensor) -> float:
    """Mean over slices of the Dice at threshold 0.5; the probability is scaled to the masks' size."""
    network.eval()
    scores = []
    with torch.inference_mode():
        for start in range(0, len(masks), BATCH):
            outputs = run(images[start : start + BATCH])
            logits = (outputs if isinstance(outputs, Tensor) else outputs[0]).float()
            truth = masks[start : start + BATCH] > 0.5
            probability = F.interpolate(logits.sigmoid(), truth.shape[2:], mode="bilinear")
            predicted = probability >= 0.5
            both = (truth & predicted).sum((1, 2, 3))
            total = truth.sum((1, 2, 3)) + predicted.sum((1, 2, 3))
            scores += (2 * both / total.clamp(min=1)).tolist()
    network.train()
    return float(np.mean(scores))


def train(job: dict) -> None:
    """AdamW with a cosine over the time there is; tells the validation Dice now and then."""
    torch.manual_seed(0)
    layout = torch.channels_last if job["mode"].endswith("nhwc") else torch.contiguous_format
    network = NETWORKS[job["network"]](job["size"]).to(memory_format=layout).train()
    run = network
    if job["mode"].startswith("compile"):
        run = torch.compile(network, options={"layout_optimization": layout == torch.channels_last})
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=job["precision"] == "bfloat16")

    arrays = np.load(job["slices"])
    images, masks, val_images, val_masks = (
        torch.from_numpy(arrays[name]).unsqueeze(1)
        for name in ("train_images", "train_masks", "val_images", "val_masks")
    )
    if job["size"] != images.shape[-1]:
        masks = F.interpolate(masks.float(), (job["size"],) * 2, mode="area").round()
        images, val_images = (
            F.interpolate(pixels.float(), (job["size"],) * 2, mode="area").round().byte()
            for pixels in (images, val_images)
        )
    val_images = (val_images.float() / 255).contiguous(memory_format=layout)

    optimizer = torch.optim.AdamW(
        network.parameters(), LEARNING_RATE, weight_decay=0.01, fused=True
    )
    seconds, limit = 0.0, 60 * job["minutes"]
    next_check = min(120.0, limit)
    # Compiled before the clock starts: nobody's training time should depend on that.
    with autocast:
        loss_of(run(images[:BATCH].float().contiguous(memory_format=layout)), masks[:BATCH].float())
    while seconds < limit:
        for chosen in torch.randperm(len(images)).split(BATCH):
            if len(chosen) < BATCH:
                continue
            start = time.perf_counter()
            done = seconds / limit
            rate = min(done / WARMUP, 0.5 + 0.5 * math.cos(math.pi * min(1.0, done)))
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * rate
            batch = augment(images[chosen].float() / 255, masks[chosen].float())
            optimizer.zero_grad()
            with autocast:
                outputs = run(batch[0].contiguous(memory_format=layout))
            loss_of(outputs, batch[1]).backward()
            optimizer.step()
            seconds += time.perf_counter() - start
            if seconds >= next_check:
                with autocast:
                    dice = validation_dice(network, network, val_images, val_masks)
                point = {"minutes": seconds / 60, "val_dice": dice}
                print(json.dumps(point), flush=True)
                next_check = min(limit, next_check + 120) if seconds < limit else math.inf
    print(json.dumps({"versions": {name: version(name) for name in PACKAGES}}), flush=True)


if __name__ == "__main__":
    train(json.loads(sys.argv[1]))
