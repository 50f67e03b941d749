"""Print the layers, parameters and FLOPs of a U-Net.

python -m unet.network.describe             the default
python -m unet.network.describe --model.width 16 --size 128
"""

from unet.command_line import run
from unet.options import DescribeOptions


def describe(options: DescribeOptions) -> None:
    """Print the layers, parameters and FLOPs of a U-Net."""
    import keras

    from unet.network.model import build_unet, check_size, flops

    size = options.size
    check_size(size, options.model)
    network = build_unet(options.model)
    # With a fixed input size, the output shape of every layer is known.
    sized = keras.models.clone_model(network, input_tensors=keras.Input((size, size, 1)))
    print(f"{'layer':28}{'output (height, width, channels)':36}{'parameters':>12}")
    for layer in sized.layers:
        print(f"{layer.name:28}{layer.output.shape[1:]!s:36}{layer.count_params():12,}")
    print(f"\n{network.count_params():,} parameters")
    print(f"{flops(network, size) / 1e9:.2f} GFLOP for one image of {size} x {size}")


if __name__ == "__main__":
    run(DescribeOptions, __doc__, describe)
