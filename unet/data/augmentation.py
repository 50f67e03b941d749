"""Random augmentation of training slices in tf.data, as a pure function of slice, options and seed.

The operations and ranges are those of nnU-Net (Isensee 2021). The random numbers are stateless, so the same (seed,
epoch, slice) gives the same pixels on any machine, in any order, after any restart.
Images are float32 (size, size, 1), roughly in [0, 1]. Masks are 0 or 1, with the same shape and type.
"""

import math
import zlib

import tensorflow as tf

from unet.options import AugmentationConfig

HEAD_GREY = 0.08  # grey value; air is darker
MARGIN = 0.03  # around a tumor, as a fraction of the image side


class Draws:
    """Random numbers that depend only on a seed and on the names they are drawn under.

    So a change to one augmentation leaves the random numbers of all others as they are.
    """

    def __init__(self, seed: tf.Tensor):
        """Start from a seed, int32 (2,)."""
        self._seed = seed

    def seed_of(self, name: str) -> tf.Tensor:
        """The seed of a name, int32 (2,)."""
        return tf.random.fold_in(self._seed, zlib.crc32(name.encode()) >> 1)  # 31 bits fit an int32

    def of(self, name: str) -> "Draws":
        """The draws of one augmentation."""
        return Draws(self.seed_of(name))

    def uniform(self, name: str, low: float, high: float) -> tf.Tensor:
        """A number in [low, high), float32 ()."""
        return tf.random.stateless_uniform((), self.seed_of(name), low, high)

    def normal(self, name: str, shape: tf.Tensor) -> tf.Tensor:
        """Standard normal numbers, float32 of this shape."""
        return tf.random.stateless_normal(shape, self.seed_of(name))

    def happens(self, name: str, probability: float) -> tf.Tensor:
        """True with this probability, bool ()."""
        return self.uniform(name, 0.0, 1.0) < probability


def augment(
    image: tf.Tensor, mask: tf.Tensor, config: AugmentationConfig, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """An image and its mask after augmentation.

    Args:
        image: float32 (size, size, 1).
        mask: float32 (size, size, channels), in [0, 1]. It moves with the image.
        config: Probabilities and ranges.
        seed: int32 (2,). The same seed gives the same pixels.
    """
    draws = Draws(seed)
    image, mask = move(image, mask, config, draws)
    for name, change, probability in (
        ("noise", add_noise, config.noise),
        ("blur", blur, config.blur),
        ("brightness", change_brightness, config.brightness),
        ("contrast", change_contrast, config.contrast),
        ("low_resolution", lower_resolution, config.low_resolution),
        ("inverted_gamma", change_inverted_gamma, config.inverted_gamma),
        ("gamma", change_gamma, config.gamma),
    ):
        if probability:
            own_draws = draws.of(name)
            # Default arguments: TensorFlow may trace the branches again when the loop is already further.
            changed = tf.cond(
                own_draws.happens("happens", probability),
                lambda change=change, image=image, own_draws=own_draws: change(image, own_draws),
                lambda image=image: image,
            )
            image = tf.ensure_shape(changed, image.shape)
    return image, mask


def paste_tumors(images: tf.Tensor, masks: tf.Tensor, chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Copy-paste (Ghiasi 2021, arXiv 2012.07177): give some slices the tumor of the slice before them.

    Args:
        images: n + 1 slices, float32 (n + 1, size, size, 1).
        masks: Their masks, float32 (n + 1, size, size, channels): the mask, and maybe a teacher's label.
        chosen: Which of the last n slices get a tumor, bool (n,).

    Returns:
        The last n images and masks. A pasted tumor replaces what was there and fades out over four pixels around it.
    """
    other_images, other_masks, images, masks = images[:-1], masks[:-1], images[1:], masks[1:]
    other_masks *= tf.cast(chosen, tf.float32)[:, tf.newaxis, tf.newaxis, tf.newaxis]
    # Grown by two pixels, then averaged over 5 x 5: still 1 everywhere on the tumor.
    share = tf.nn.avg_pool2d(tf.nn.max_pool2d(other_masks[..., :1], 5, 1, "SAME"), 5, 1, "SAME")
    # What a teacher says about the rest of the other slice does not belong to this one.
    labels = masks[..., 1:] + share * (other_masks[..., 1:] - masks[..., 1:])
    # Of a tumor of its own, a slice keeps what the pasted one does not cover.
    masks = tf.where(share < 0.5, masks[..., :1], other_masks[..., :1])
    return images + share * (other_images - images), tf.concat([masks, labels], axis=-1)


def hide_part(image: tf.Tensor, mask: tf.Tensor, hides_tumor: tf.Tensor, draws: Draws) -> tuple[tf.Tensor, tf.Tensor]:
    """An image and its mask with a part hidden: a disc, or everything on one side of a large circle.

    Each slice with tumor thus also shows the rest of the head without it. So that the hidden part itself says nothing,
    parts of slices that keep their tumor are hidden too.

    Args:
        image: float32 (size, size, 1).
        mask: float32 (size, size, 1), 0 or 1.
        hides_tumor: Whether to hide all of the tumor, or none of it, bool ().
        draws: The random numbers.
    """
    is_disc = draws.happens("disc", 0.65)
    depth, limit = tf.cond(
        is_disc, lambda: disc_to_hide(mask, hides_tumor, draws), lambda: side_to_hide(image, mask, hides_tumor, draws)
    )
    share = tf.clip_by_value((limit - depth) / draws.uniform("softness", 0.002, 0.016), 0.0, 1.0)
    grey = tf.where(is_disc & draws.happens("grey", 0.7), draws.uniform("level", 0.0, 0.6), 0.0)
    return grey + (image - grey) * share, mask * tf.cast(share > 0, tf.float32)


def disc_to_hide(mask: tf.Tensor, hides_tumor: tf.Tensor, draws: Draws) -> tuple[tf.Tensor, tf.Tensor]:
    """A disc on the tumor or beside it: a depth for each pixel, float32 (size, size, 1), and the limit () below which
    pixels are shown. Both are in fractions of the image side."""
    pixel = pixel_centers(mask.shape[0])
    tumor = mask[..., 0] / tf.maximum(tf.reduce_sum(mask), 1.0)
    aims = hides_tumor & (tf.reduce_max(mask) > 0)  # at the tumor
    x, y = (draws.uniform(name, 0.15, 0.85) for name in "xy")
    x = tf.where(aims, tf.reduce_sum(tumor * pixel) + draws.uniform("x offset", -0.02, 0.02), x)
    y = tf.where(aims, tf.reduce_sum(tumor * pixel[:, tf.newaxis]) + draws.uniform("y offset", -0.02, 0.02), y)
    depth = -distance_from(x, y, mask.shape[0])
    tumor_first, tumor_last = extent(depth, mask > 0)
    around_tumor = (tumor_first - MARGIN) * draws.uniform("growth", 1.0, 1.5)
    elsewhere = tf.maximum(-draws.uniform("radius", 0.04, 0.22), tumor_last + MARGIN)
    return depth, tf.where(aims, around_tumor, elsewhere)


def side_to_hide(
    image: tf.Tensor, mask: tf.Tensor, hides_tumor: tf.Tensor, draws: Draws
) -> tuple[tf.Tensor, tf.Tensor]:
    """The inside or the outside of a large circle, with depth and limit as in disc_to_hide. A tenth of the head or more
    is shown, if the tumor allows it."""
    x, y = (draws.uniform(f"far {name}", -0.5, 1.5) for name in "xy")
    distance = distance_from(x, y, image.shape[0])
    depth = tf.where(draws.happens("outside", 0.5), -distance, distance)
    (first, last), (tumor_first, tumor_last) = extent(depth, image > HEAD_GREY), extent(depth, mask > 0)
    least = first + 0.1 * (last - first)
    low = tf.where(hides_tumor, least, tf.maximum(least, tumor_last + MARGIN))
    high = tf.where(hides_tumor, tf.minimum(last, tumor_first - MARGIN), last)
    # The larger of two draws, so that mostly much of the head remains.
    draw = tf.maximum(draws.uniform("limit", 0.0, 1.0), draws.uniform("another limit", 0.0, 1.0))
    return depth, tf.where(low < high, low + draw * (high - low), tf.where(hides_tumor, high, low))


def pixel_centers(size: int) -> tf.Tensor:
    """Positions of the pixels along a side, as fractions of it, float32 (size,)."""
    return (tf.range(size, dtype=tf.float32) + 0.5) / size


def distance_from(x: tf.Tensor, y: tf.Tensor, size: int) -> tf.Tensor:
    """Distance of each pixel from a point, all in fractions of the image side, float32 (size, size, 1)."""
    pixel = pixel_centers(size)
    return tf.sqrt((pixel - x)[tf.newaxis, :, tf.newaxis] ** 2 + (pixel - y)[:, tf.newaxis, tf.newaxis] ** 2)


def extent(depth: tf.Tensor, part: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Smallest and largest depth in a part of the image, bool (size, size, 1); 9 and -9 if it is empty."""
    return tf.reduce_min(tf.where(part, depth, 9.0)), tf.reduce_max(tf.where(part, depth, -9.0))


def move(image: tf.Tensor, mask: tf.Tensor, config: AugmentationConfig, draws: Draws) -> tuple[tf.Tensor, tf.Tensor]:
    """Rotate, scale, shift and mirror in one resampling: bilinear for the image, nearest for the mask."""
    moves = draws.happens("spatial", config.spatial)
    angle = draws.uniform("rotation", -1.0, 1.0) * math.radians(config.rotation_degrees)
    # On a log scale: halving is as likely as doubling.
    scale = tf.exp(draws.uniform("scale", math.log(config.scale_min), math.log(config.scale_max)))
    shift = [draws.uniform(name, -config.shift, config.shift) for name in ("shift_x", "shift_y")]
    flip_x = tf.where(draws.happens("mirror_left_right", config.mirror_left_right), -1.0, 1.0)
    flip_y = tf.where(draws.happens("mirror_up_down", config.mirror_up_down), -1.0, 1.0)

    angle = tf.where(moves, angle, 0.0)
    scale = tf.where(moves, scale, 1.0)
    shift = [tf.where(moves, part, 0.0) for part in shift]
    transform = output_to_input(angle, scale, shift, (flip_x, flip_y), image.shape[0])
    # Nearest: bilinear would invent values between background and tumor.
    return resample(image, transform, "BILINEAR"), resample(mask, transform, "NEAREST")


def output_to_input(angle, scale, shift, flips, size: int) -> tf.Tensor:
    """Projective transform (8,) from each output pixel to the input pixel it comes from.

    `angle` is in radians, a `scale` above 1 magnifies, `shift` (x, y) is a fraction of the side, and `flips` (x, y)
    are 1, or -1 to mirror.
    """
    center = (size - 1) / 2
    cosine, sine = tf.cos(angle) / scale, tf.sin(angle) / scale
    flip_x, flip_y = flips
    rows = []
    for (along_x, along_y), offset in (
        ((cosine * flip_x, sine * flip_y), shift[0] * size),
        ((-sine * flip_x, cosine * flip_y), shift[1] * size),
    ):
        rows += [along_x, along_y, center + offset - center * (along_x + along_y)]
    return tf.stack([*rows, 0.0, 0.0])


def resample(pixels: tf.Tensor, transform: tf.Tensor, interpolation: str) -> tf.Tensor:
    """Pixels (size, size, channels) resampled with a projective transform (8,); 0 outside the image."""
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=pixels[tf.newaxis],
        transforms=transform[tf.newaxis],
        output_shape=pixels.shape[:2],
        interpolation=interpolation,
        fill_mode="CONSTANT",
        fill_value=0.0,
    )[0]


def add_noise(image: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Add Gaussian noise of up to a tenth of the image's standard deviation."""
    strength = draws.uniform("strength", 0.0, 0.1) * tf.math.reduce_std(image)
    return image + strength * draws.normal("noise", tf.shape(image))


def blur(image: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Blur with a Gaussian with a sigma of 0.5 to 1 pixel."""
    distance = tf.range(-3.0, 4.0)
    weights = tf.exp(-0.5 * (distance / draws.uniform("sigma", 0.5, 1.0)) ** 2)
    weights = tf.reshape(weights / tf.reduce_sum(weights), (-1, 1, 1, 1))
    blurred = tf.nn.conv2d(image[tf.newaxis], weights, 1, "SAME")
    return tf.nn.conv2d(blurred, tf.transpose(weights, (1, 0, 2, 3)), 1, "SAME")[0]


def change_brightness(image: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Multiply all pixels by 0.75 to 1.25."""
    return image * draws.uniform("factor", 0.75, 1.25)


def change_contrast(image: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Multiply the distance from the mean by 0.75 to 1.25, and clip to the original range."""
    mean = tf.reduce_mean(image)
    stretched = (image - mean) * draws.uniform("factor", 0.75, 1.25) + mean
    return tf.clip_by_value(stretched, tf.reduce_min(image), tf.reduce_max(image))


def lower_resolution(image: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Downsample by a factor of 0.5 to 1 (nearest), and upsample again (bicubic)."""
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    small = tf.cast(tf.round(size * draws.uniform("factor", 0.5, 1.0)), tf.int32)
    sampled = tf.image.resize(image, small, "nearest")
    return tf.image.resize(sampled, tf.shape(image)[:2], "bicubic")


def change_gamma(image: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Raise the grey values, relative to their range, to the power of 0.7 to 1.5; keep mean and standard deviation."""
    low, high = tf.reduce_min(image), tf.reduce_max(image)
    curved = tf.math.divide_no_nan(image - low, high - low) ** draws.uniform("exponent", 0.7, 1.5)
    deviation = tf.math.divide_no_nan(curved - tf.reduce_mean(curved), tf.math.reduce_std(curved))
    return deviation * tf.math.reduce_std(image) + tf.reduce_mean(image)


def change_inverted_gamma(image: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Apply change_gamma to the inverted image: this changes bright pixels like change_gamma changes dark ones."""
    return -change_gamma(-image, draws)
