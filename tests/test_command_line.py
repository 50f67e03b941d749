"""What the scripts share: how they start, run a step and end."""

import gc
import os
import subprocess
import sys
from dataclasses import dataclass, fields
from typing import Annotated

import pytest
from annotated_types import Ge
from ready import ROOT, run_script

from unet import signals
from unet.command_line import command, given_options, run
from unet.help_texts import tidy_help
from unet.options import DescribeOptions


def test_garbage_collection_is_on_during_a_step_and_skips_imported_objects(monkeypatch):
    monkeypatch.setattr(signals, "SIGNALS", ())  # pytest keeps its own handlers
    monkeypatch.setattr(sys, "argv", ["script.py", "--size", "64"])
    seen = []
    with pytest.raises(SystemExit) as ended:
        run(DescribeOptions, "", lambda options: seen.extend([options.size, gc.isenabled(), gc.get_freeze_count()]))
    size, enabled, frozen = seen
    assert size == 64 and enabled and frozen > 100_000 and ended.value.code == 0


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("train", ["--no-tumor", "--name", "x"]),
        ("evaluate", ["--no-tumor"]),
        ("predict", ["x", "--run", "--output", "out"]),
    ],
)
def test_an_option_for_several_values_needs_one(script, words, tmp_path):
    done = run_script(script, *words, cwd=tmp_path)
    option = next(word for word in words if word.startswith("--"))
    assert (done.returncode, done.stderr) == (2, f"{option} has no value: give one or more after it.\n")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--init", ""], "--init is empty: give a value or leave it out."),
        (["--name="], "--name is empty: give a value or leave it out."),
        (["--no-tumor", "folder", ""], "Argument 5 is empty: give a value or leave it out."),
        (["--learning-rate", "nan"], "--learning-rate nan: give a finite number."),
        (["--augmentation.scale-max", "inf"], "--augmentation.scale-max inf: give a finite number."),
    ],
)
def test_empty_and_infinite_values_are_refused(words, expected, tmp_path):
    done = run_script("train", "--data", "phantom", *words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, f"{expected}\n")
    assert not any(tmp_path.iterdir())


def test_output_that_is_closed_and_settings_of_other_keras_projects_do_no_harm(tmp_path):
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras/keras.json").write_text('{"image_data_format": "channels_first", "floatx": "float16"}')
    command = f"'{sys.executable}' -m unet.network.describe --size 64 >&-"
    environment = os.environ | {"KERAS_BACKEND": "torch", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    program = "import unet.network.model, keras; print(keras.config.floatx(), keras.config.image_data_format())"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout == "float32 channels_last\n"


def test_options_may_have_underscores(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--resume", "a_b", "--no_tumor", "c_d", "--batch_size=3"])
    assert given_options() == ["--resume", "--no-tumor", "--batch-size"]


@pytest.mark.parametrize("script", ["train", "evaluate", "predict"])
def test_help_never_shows_none(script, tmp_path):
    text = run_script(script, "--help", cwd=tmp_path).stdout
    assert "--device STR" in text and "{axial,coronal,sagittal}" in text
    assert "None" not in text and "(default: )" not in text


@dataclass(frozen=True)
class Example:
    """Options of an example."""

    count: Annotated[int, Ge(1)] | None = None
    """How many of them there
    are."""


def test_help_has_whole_paragraphs():
    tidy_help(Example)
    assert fields(Example)[0].metadata["help"] == "How many of them there are."


@pytest.mark.parametrize("script", ["train", "evaluate", "predict"])
def test_help_ends_quietly_if_its_reader_closes_the_pipe(script):
    command = [sys.executable, str(ROOT / f"{script}.py"), "--help"]
    # As `| head -1` does. The pipe and its buffer are small, so that a long help is still being written when it closes.
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, pipesize=4096) as process:
        assert process.stdout.readline().startswith(b"usage: ")
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode in (0, 141)


@pytest.mark.parametrize(
    ("started", "next_one"), [("train.py", "python evaluate.py"), ("/usr/bin/unet-train", "unet-evaluate")]
)
def test_a_script_names_the_next_one_as_it_was_started_itself(started, next_one, monkeypatch):
    monkeypatch.setattr(sys, "argv", [started])
    assert command("evaluate") == next_one
