"""One row of logits, told step by step, and the same as data."""

import lastlayer

trace = lastlayer.explain([4.0, 2.0, -2.0], target="dog", classes=["dog", "cat", "rabbit"])
print(trace)
print()
print("loss in nats:", trace.loss)
print("probabilities:", trace.probabilities.tolist())
print("gradient:", trace["gradient"].value.tolist())
