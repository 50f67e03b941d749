"""Ensemble: several runs as one, with the mean of their answers.

The probabilities of a pixel are averaged. For the question whether there is a tumor, each run's calibrated log-odds are
averaged: a mean of calibrated probabilities would be too close to 0.5 (Ranjan and Gneiting 2010).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf
from scipy.special import expit

from unet.errors import UserError
from unet.machine import choose_precision
from unet.network.confidence import ConfidenceModel
from unet.network.outlining import OutlineRule
from unet.network.presence import LEAST_EVIDENCE, PresenceRule, log_odds
from unet.network.saved_run import SavedRun


def open_runs(folders: Sequence[Path]) -> SavedRun:
    """The run in a folder, an ensemble of those in several, or for none the pretrained run."""
    runs = [SavedRun.open(folder) for folder in folders or (None,)]
    return runs[0] if len(runs) == 1 else Ensemble(runs)


def check_same_images(one: SavedRun, other: SavedRun) -> None:
    """UserError if two runs were trained on other channels, planes or volumes of images and scans."""
    for name in ("channel", "plane", "volume"):
        values = [getattr(run.config.options.data.reading, name) for run in (one, other)]
        if values[0] != values[1]:
            raise UserError(
                f"'{other.folder}' has --{name} {values[1]}, unlike '{one.folder}': name runs that see the same images."
            )


class Ensemble(SavedRun):
    """Runs with the same preprocessing, used like one run. Its slices are those of the first run, its folder is only
    for results. Runs that saw no slices without tumor have no say in whether there is one."""

    def __init__(self, runs: list[SavedRun]):
        first = runs[0]
        for run in runs:
            check_same_images(first, run)
            if (size := run.config.options.size) != first.config.options.size:
                raise UserError(f"'{run.folder}' has --size {size}, unlike '{first.folder}': name runs of one size.")
        outline_rule = joint_outline_rule([run.config.outline_rule for run in runs])
        presence_rule = joint_presence_rule([rule for run in runs if (rule := run.config.presence_rule)])
        config = replace(first.config, outline_rule=outline_rule, presence_rule=presence_rule)
        super().__init__(first.folder / f"ensemble-of-{len(runs)}", config, first.slices)
        self.runs = runs

    def confidence_model(self) -> "JointConfidence | None":
        """What the runs expect together; None if no training has finished."""
        models = [model for run in self.runs if (model := run.confidence_model())]
        return JointConfidence(models) if models else None

    def network_fingerprint(self) -> str:
        """The fingerprints of all networks, in order."""
        return ", ".join(run.network_fingerprint() for run in self.runs)

    def load_network(self, precision: str | None = None) -> Callable[..., dict[str, tf.Tensor]]:
        """A function with the same arguments and answers as a network."""
        precision = precision or choose_precision(self.config.options.precision)  # the same for all
        networks = [run.load_network(precision) for run in self.runs]

        def network(images: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
            answers = [network(images, training=training) for network in networks]
            outlines, evidence = ([answer[name] for answer in answers] for name in ("outline", "evidence"))
            joint = joint_evidence(evidence, [run.config.presence_rule for run in self.runs], self.config.presence_rule)
            return {"outline": tf.add_n(outlines) / len(outlines), "evidence": joint}

        return network


def joint_outline_rule(rules: list[OutlineRule]) -> OutlineRule:
    """The mean threshold and peak. A peak below its threshold has no effect, and so counts as the threshold."""
    means = np.mean([(rule.threshold, max(rule.peak, rule.threshold)) for rule in rules], axis=0)
    return OutlineRule(*means.round(4).tolist())


def joint_presence_rule(rules: list[PresenceRule]) -> PresenceRule | None:
    """The rule for joint_evidence: an image that all runs outline is outlined, and one that none outlines is not."""
    if not rules:
        return None
    slope, intercept = np.mean([(rule.slope, rule.intercept) for rule in rules], axis=0).tolist()
    limits = [[log_odds(limit) for limit in (rule.threshold, rule.unsure_from, rule.unsure_to)] for rule in rules]
    return PresenceRule(slope, intercept, *expit(np.mean(limits, axis=0)).tolist())


def joint_evidence(values: list[tf.Tensor], rules: list[PresenceRule | None], joint: PresenceRule | None) -> tf.Tensor:
    """Evidence float32 (batch, 1) whose log-odds of a tumor, by the joint rule, are the mean of what each run's rule
    says about its own evidence. It has the scale of the runs' evidence. Without rules, it is the mean evidence."""
    if not joint:
        return tf.add_n(values) / len(values)
    clipped = [tf.clip_by_value(value, LEAST_EVIDENCE, 1 - LEAST_EVIDENCE) for value in values]
    pairs = [(tf.math.log(value / (1 - value)), rule) for value, rule in zip(clipped, rules, strict=True) if rule]
    mean = tf.add_n([rule.slope * value + rule.intercept for value, rule in pairs]) / len(pairs)
    return tf.sigmoid((mean - joint.intercept) / joint.slope)


class JointConfidence:
    """Confidence models as one: the mean Dice, and whether an image looks unlike the training data of every run."""

    def __init__(self, models: list[ConfidenceModel]):
        self.models = models
        self.review_up_to = float(np.mean([model.review_up_to for model in models]))

    def expect_dice(self, confidence: float) -> float:
        return float(np.mean([model.expect_dice(confidence) for model in self.models]))

    def is_unlike(self, square: np.ndarray) -> bool:
        return all(model.is_unlike(square) for model in self.models)
