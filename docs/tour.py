# %% [markdown]
# # A tour: outline tumors, look at the doubtful ones, fine-tune
#
# You need the package (`pip install .` in a clone of the project) and pandas. All pictures are simulated, without any
# patient's pixels. [From Python](python.md) describes every function. `python docs/notebook.py` makes this notebook
# from [tour.py](tour.py).

# %%
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pandas

import unet
from unet.data.phantoms import write_phantoms
from unet.images.masks import read_mask
from unet.images.reading import read_image

folder = Path("phantoms")
if not folder.exists():
    write_phantoms(folder, patients=40, slices=2, size=128)
images = sorted((folder / "images").glob("*.png"))
len(images)

# %% [markdown]
# ## Outline tumors
#
# `unet.load()` is the pretrained network; `unet.load("runs/NAME")` is your own. `predict` takes a path
# or an array. It returns arrays of the image's size: the probability of each pixel, if there is a tumor, and the mask.

# %%
run = unet.load()


def show(paths, run):
    """Images with true outlines in green and predicted ones in orange."""
    figure, axes = plt.subplots(1, len(paths), figsize=(3 * len(paths), 3.7), dpi=72, layout="constrained")
    for axis, path in zip(axes, paths, strict=True):
        result = run.predict(path)
        axis.imshow(read_image(path), cmap="gray")
        for mask, color in ((read_mask(folder / "masks" / path.name), "limegreen"), (result.mask, "orange")):
            if mask.any():
                axis.contour(mask, [0.5], colors=color, linewidths=1.2)
        expected = "nothing outlined" if result.expected_dice is None else f"expected Dice {result.expected_dice:.2f}"
        axis.set_title(f"{path.stem}\ntumor {result.tumor_probability:.3f}, {expected}", fontsize=9)
        axis.axis("off")


show(images[:8:2], run)

# %% [markdown]
# ## Look at the doubtful ones
#
# `rows` gives one row per file, as in `predictions.csv`. The network says where it may be wrong: `review` is the reason
# why a person should look at an outline. Simulated slices differ from those that this network has learned from: some
# are `unlike training data`.

# %%
table = pandas.DataFrame(run.rows(folder / "images"))
table.index = [Path(path).stem for path in table.path]
table.review.value_counts()

# %%
columns = ["tumor_probability", "tumor_percent", "expected_dice", "review"]
doubtful = table[table.tumor_pixels > 0].sort_values("expected_dice")
doubtful[columns].head(8)

# %%
show([folder / "images" / f"{name}.png" for name in doubtful.index[:4]], run)

# %% [markdown]
# ## Fine-tune on your own data
#
# You can train on any folder with `images/` and `masks/`. Patients are never in training and validation at once. With
# few images, start from a network that was trained on others. To train from scratch, leave out `init`. For real images,
# leave out the numbers: they are for a tour of a minute.

# %%
recipe = unet.recipe(unet.TrainingOptions(init="pretrained"))
data = unet.DataOptions(str(folder))
trained = unet.train(replace(recipe, data=data, name="tour", epochs=6, presence_epochs=2, batch_size=8))

# %% [markdown]
# ## Is it better?
#
# `evaluate` scores a run on the patients that it was not trained on. Open its `report.html`.

# %%
unet.evaluate(unet.EvaluationOptions(runs=(trained.folder,)))

# %%
own = unet.load(trained)
validation = trained.slices.split["val"]
show([folder / "images" / f"{name}.png" for name in validation[:8:2]], own)
