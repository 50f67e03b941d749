"""Worker of speed.py in the peers' environment: networks of PyTorch libraries."""

from importlib.metadata import version

import torch
import torch.nn.functional as F
from timing import Job, tell
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

PACKAGES = (
    "torch", "torchvision", "segmentation-models-pytorch", "monai", "dynamic-network-architectures",
)  # fmt: skip


def smp_unet(encoder: str) -> nn.Module:
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        # torchvision has no CPU build on PyPI, and the operators compiled for CUDA do not load
        # beside a CPU build of PyTorch. Its ResNet needs none; to import it, two must have a name.
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import segmentation_models_pytorch as smp

    return smp.Unet(encoder, encoder_weights=None, in_channels=1, classes=1)


def monai_basic_unet() -> nn.Module:
    from monai.networks.nets import BasicUNet

    return BasicUNet(spatial_dims=2, in_channels=1, out_channels=1)


def nnunet_plain(size: int) -> nn.Module:
    """The network of nnU-Net's 2D plan: halved while the edge is 8 or more, 32 to 512 channels."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    stages = 1
    while size >> (stages - 1) >= 8:
        stages += 1
    return PlainConvUNet(
        input_channels=1,
        n_stages=stages,
        features_per_stage=[min(32 << stage, 512) for stage in range(stages)],
        conv_op=nn.Conv2d,
        kernel_sizes=3,
        strides=[1] + [2] * (stages - 1),
        n_conv_per_stage=2,
        num_classes=1,
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        norm_op=nn.InstanceNorm2d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=True,
    )


NETWORKS = {
    "smp-resnet18": lambda size: smp_unet("resnet18"),
    "smp-resnet34": lambda size: smp_unet("resnet34"),
    "monai-basicunet": lambda size: monai_basic_unet(),
    "nnunet-plain": nnunet_plain,
}


def segmentation_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Binary cross-entropy + Dice loss over each image, as ours."""
    logits = logits.float()
    probability = logits.sigmoid()
    overlap = (probability * masks).sum((1, 2, 3))
    total = probability.sum((1, 2, 3)) + masks.sum((1, 2, 3))
    dice_loss = 1 - (2 * overlap + 1) / (total + 1)
    return F.binary_cross_entropy_with_logits(logits, masks) + dice_loss.mean()


def loss_of(outputs: Tensor | list[Tensor], masks: Tensor) -> Tensor:
    """nnU-Net supervises several resolutions: each counts half of the finer one, the last nothing."""
    if isinstance(outputs, Tensor):
        return segmentation_loss(outputs, masks)
    weights = [0.5**level for level in range(len(outputs) - 1)]
    losses = [
        weight * segmentation_loss(logits, F.interpolate(masks, logits.shape[2:]))
        for weight, logits in zip(weights, outputs, strict=False)
    ]
    return sum(losses) / sum(weights)


def measure(job: Job) -> None:
    """Speeds of a network on random slices; inference first, or its peak memory would be training's."""
    torch.manual_seed(0)
    how, layout = job.mode.split()
    layout = {"nhwc": torch.channels_last, "nchw": torch.contiguous_format}[layout]
    network = NETWORKS[job.network](job.size).to(memory_format=layout)
    images = torch.rand(job.batch, 1, job.size, job.size).to(memory_format=layout)
    masks = (torch.rand_like(images) < 0.02).float()
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=job.precision == "bfloat16")
    run = network
    if how == "compile":
        # Left alone, the compiler turns every network to channels last.
        options = {"layout_optimization": layout == torch.channels_last}
        run = torch.compile(network, options=options)

    def be_training(training: bool) -> None:
        network.train(training)
        if job.network == "nnunet-plain":
            network.decoder.deep_supervision = training

    def infer() -> None:
        with torch.inference_mode(), autocast:
            run(images).sigmoid()

    def train() -> None:
        optimizer.zero_grad()
        with autocast:
            outputs = run(images)
        loss_of(outputs, masks).backward()
        optimizer.step()

    be_training(False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images[:1])
    figures = {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "flops": counter.get_total_flops(),
        "versions": {name: version(name) for name in PACKAGES},
        "inference": job.speed(infer),
    }
    tell(figures)
    be_training(True)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    figures["training"] = job.speed(train)
    tell(figures)


if __name__ == "__main__":
    measure(Job.from_command_line())
