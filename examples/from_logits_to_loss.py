"""One row of logits, told step by step; the same as data, as a page; and beside a wrong wiring."""

from pathlib import Path
from tempfile import mkdtemp

import lastlayer

trace = lastlayer.explain([4.0, 2.0, -2.0], target="dog", classes=["dog", "cat", "rabbit"])
print(trace)
print()
print("loss in nats:", trace.loss)
print("probabilities:", trace.probabilities.tolist())
print("gradient:", trace["gradient"].value.tolist())

page = Path(mkdtemp()) / "trace.html"
trace.save(page)
print("as a page:", page.name, page.stat().st_size, "bytes")
print()
print(trace.compare(lastlayer.explain([4.0, 2.0, -2.0], "dog", classes=trace.classes, before="softmax")))
