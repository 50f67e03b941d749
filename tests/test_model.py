"""The U-Net: shapes, layers and batch normalization."""

import keras
import numpy as np
import pytest
from conftest import run_module
from ready import ROOT

from unet.errors import UserError
from unet.network.model import build_unet, check_size, flops, with_logits
from unet.network.normalization import FusedBatchNormalization, count_with_normalization, fold_normalization
from unet.network.presence_head import cell_side
from unet.network.weights import weights_of
from unet.options import ModelConfig

SMALL = ModelConfig(width=4, max_width=12, depth=3, stem_stride=2)


def test_widths_double_up_to_the_maximum():
    assert SMALL.widths == [4, 8, 12]
    assert SMALL.divisor == 8


@pytest.mark.parametrize("stem_stride", [1, 2, 4])
@pytest.mark.parametrize("size", [(1, 1), (2, 3)])
def test_the_outline_is_a_probability_with_the_shape_of_the_input(stem_stride, size):
    config = ModelConfig(width=4, max_width=8, depth=3, stem_stride=stem_stride)
    height, width = (side * config.divisor for side in size)
    answers = build_unet(config)(np.ones((2, height, width, 1), np.float32))
    assert answers["outline"].shape == (2, height, width, 1) and answers["evidence"].shape == (2, 1)
    for probability in answers.values():
        assert 0 <= float(probability.numpy().min()) and float(probability.numpy().max()) <= 1


def test_an_invalid_size_or_depth_is_refused(tmp_path):
    with pytest.raises(UserError, match="--size 100 is not a multiple of 8.*use --size 96"):
        check_size(100, SMALL)
    done = run_module("unet.network.describe", "--model.depth", 0, cwd=ROOT)
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("--model.depth 0: ")


def test_the_layers_are_printed():
    done = run_module("unet.network.describe", "--model.width", 4, "--model.depth", 3, "--size", 64, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "bottleneck_convolution_a" in done.stdout and "GFLOP for one image of 64 x 64" in done.stdout


def test_logits_are_the_input_of_the_sigmoid():
    model = build_unet(SMALL)
    image = np.random.default_rng(0).random((1, 16, 16, 1)).astype(np.float32)
    logits = with_logits(model)(image, training=False)
    answers = model(image, training=False)
    np.testing.assert_allclose(answers["outline"], keras.ops.sigmoid(logits), atol=1e-6)


def test_evidence_is_a_soft_maximum_over_cells_plus_an_answer_for_the_image():
    model = build_unet(SMALL)
    # Both answers are their biases: 0.5 in each of the 2 x 2 cells, and 1 for the image.
    for name, bias in (("presence_cells", 0.5), ("presence_whole", 1.0)):
        kernel, _ = model.get_layer(name).get_weights()
        model.get_layer(name).set_weights([np.zeros_like(kernel), np.array([bias])])
    evidence = model(np.zeros((1, 16, 16, 1), np.float32), training=False)["evidence"]
    cells = 16 // cell_side(SMALL)
    logit = 0.5 + np.log(cells**2) / 2 + 1  # log(n e^(2 * 0.5)) / 2 for n cells
    assert float(evidence[0, 0]) == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-6)


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
def test_the_head_fits_networks_of_any_depth(depth):
    config = ModelConfig(width=2, depth=depth, stem_stride=2)
    model = build_unet(config)
    assert model(np.zeros((2, 64, 128, 1), np.float32))["evidence"].shape == (2, 1)
    grid = model.get_layer("presence_cells").output
    assert keras.Model(model.input, grid)(np.zeros((1, 64, 128, 1))).shape[1:3] == (
        64 // cell_side(config),
        128 // cell_side(config),
    )


def test_the_network_is_symmetric_with_one_skip_per_level():
    layers = with_logits(build_unet(SMALL)).layers
    count = {kind: sum(isinstance(layer, kind) for layer in layers) for kind in map(type, layers)}
    assert count[keras.layers.MaxPooling2D] == count[keras.layers.Concatenate] == 2
    # Two per block in 2 levels down, the bottleneck and 2 levels up, and the stem. Transposed convolutions: one per
    # level up, and the mirror image of the stem.
    assert sum(type(layer) is keras.layers.Conv2D for layer in layers) == 2 * 5 + 1
    assert sum(type(layer) is keras.layers.Conv2DTranspose for layer in layers) == 2 + 1


def test_flops_of_one_level_computed_by_hand():
    model = with_logits(build_unet(ModelConfig(width=2, depth=1, stem_stride=1)))
    # Multiply-adds per pixel: 3*3*1*2 + 3*3*2*2 for the block and 2*2 for the logits; fewer at borders.
    upper_bound = 2 * 8 * 8 * (18 + 36 + 4)
    assert 0.75 * upper_bound < flops(model, 8) < 1.25 * upper_bound


def test_all_layers_except_the_output_compute_in_the_chosen_format():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build_unet(SMALL)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("logits").compute_dtype == "float32"
    assert model.layers[2].compute_dtype == "bfloat16"
    assert all(weight.dtype == "float32" for weight in model.weights)


@pytest.mark.parametrize("training", [True, False])
def test_fused_batch_normalization_agrees_with_keras(training):
    stock, fused = build_unet(SMALL), build_unet(SMALL, FusedBatchNormalization)
    fused.set_weights(stock.get_weights())
    # Per channel: 1024 values in the first block and 16 at the bottleneck, so variances differ by up to 16/15.
    images = np.random.default_rng(0).random((4, 16, 16, 1)).astype(np.float32)
    expected, result = (model(images, training=training)["outline"] for model in (stock, fused))
    np.testing.assert_allclose(result, expected, atol=1e-4)
    for ours, theirs in zip(fused.variables, stock.variables, strict=True):
        ratio = 16 / 15 if training and "moving_variance" in ours.path else 1
        np.testing.assert_allclose(ours, theirs, rtol=1e-4 + ratio - 1, atol=1e-6)


def test_folded_batch_normalization_agrees_with_keras():
    stock = build_unet(SMALL)
    random = np.random.default_rng(0)
    stock.set_weights([w * random.uniform(0.5, 1.5, w.shape) + 0.01 for w in stock.get_weights()])
    images = random.random((4, 16, 16, 1)).astype(np.float32)
    folded = build_unet(SMALL, normalization=None)
    fold_normalization(weights_of(stock), folded)
    assert count_with_normalization(folded) == stock.count_params()
    normalized = [layer.name for layer in folded.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert normalized == ["presence_scaled"]  # which is not after a convolution
    result, expected = (with_logits(model)(images).numpy() for model in (folded, stock))
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(result, expected, atol=1e-4)
    result, expected = (model(images)["evidence"].numpy() for model in (folded, stock))
    np.testing.assert_allclose(result, expected, atol=1e-4)
