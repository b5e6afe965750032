"""A classifier of a pandas table that is in memory: any table with a column of classes."""

import numpy as np
import pandas as pd

from lastlayer import Classifier

random = np.random.default_rng(0)
species = random.choice(["Adelie", "Gentoo"], 200)
frame = pd.DataFrame(
    {
        "flipper_mm": np.where(species == "Gentoo", 217, 190) + random.normal(scale=6, size=200),
        "island": np.where(species == "Gentoo", "Biscoe", random.choice(["Biscoe", "Dream"], 200)),
        "species": species,
    }
)
model = Classifier(epochs=10, verbose=False).fit(frame, target="species")
print(f"accuracy {model.evaluate()['accuracy']:.3f}, log-loss {model.evaluate()['log_loss']:.3f}")
print(model.explain({"flipper_mm": 203.0, "island": "Biscoe"}))
