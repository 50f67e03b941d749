"""Worker of teacher.py in the peers' environment: trains one teacher, and predicts the slices it was not trained on."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
from accuracy_torch import augment, endless_batches
from speed_torch import NETWORKS, loss_of
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

LEARNING_RATE, WARMUP, WEIGHT_DECAY, BATCH = 1e-3, 0.05, 0.01, 16
AVERAGING_STEPS = 50  # that the average of the weights spans


def teach(job: dict) -> None:
    """Train for job["epochs"] epochs, from the last checkpoint if there is one, and write the predictions."""
    torch.manual_seed(job["seed"])
    arrays = np.load(job["slices"])
    images, masks = (torch.from_numpy(arrays[name]).unsqueeze(1) for name in ("images", "masks"))
    train, predict = (torch.tensor(job[name]) for name in ("train", "predict"))
    network = NETWORKS[job["network"]](images.shape[-1]).to(memory_format=torch.channels_last).train()
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(1 - 1 / AVERAGING_STEPS), use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    checkpoint = Path(job["output"]).with_suffix(".pt")
    parts, first = (network, averaged, optimizer), 0
    if checkpoint.exists():
        first, *states = torch.load(checkpoint)
        for part, state in zip(parts, states, strict=True):
            part.load_state_dict(state)
    steps = len(train) // BATCH
    for epoch in range(first, job["epochs"]):
        torch.manual_seed(1000 * job["seed"] + epoch)
        batches, losses = endless_batches(len(train), BATCH), []
        for step in range(steps):
            done = (epoch * steps + step + 1) / (job["epochs"] * steps)
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * min(done / WARMUP, 0.5 + 0.5 * math.cos(math.pi * done))
            chosen = train[next(batches)]
            batch, truth = augment(images[chosen].float() / 255, masks[chosen].float())
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                outputs = network(batch.contiguous(memory_format=torch.channels_last))
            loss = loss_of(outputs, truth)
            loss.backward()
            optimizer.step()
            averaged.update_parameters(network)
            losses.append(loss.item())
        torch.save((epoch + 1, *(part.state_dict() for part in parts)), checkpoint)
        print(
            f"{Path(job['output']).stem} epoch {epoch + 1} of {job['epochs']}: loss {np.mean(losses):.4f}", flush=True
        )
    np.savez_compressed(job["output"], indices=predict.numpy(), probability=probabilities(averaged, images, predict))


def probabilities(network: nn.Module, images: Tensor, indices: Tensor) -> np.ndarray:
    """Probabilities of tumor, averaged over each slice and its mirror image, as uint8 (n, size, size) of 0 to 255."""
    network.eval()
    parts = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for some in indices.split(BATCH):
            batch = (images[some].float() / 255).contiguous(memory_format=torch.channels_last)
            mirrored = network(batch.flip(3)).float().sigmoid().flip(3)
            parts.append((network(batch).float().sigmoid() + mirrored)[:, 0] / 2)
    return (torch.cat(parts) * 255).round().to(torch.uint8).numpy()


if __name__ == "__main__":
    teach(json.loads(sys.argv[1]))
