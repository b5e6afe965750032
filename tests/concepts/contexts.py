"""Rows 53 to 56: the whole way, pictures as numbers, examples, figures."""

from pathlib import Path

from lastlayer.explanation import (
    Arrows,
    Bars,
    Curve,
    Matrix,
    explain,
    explain_features,
    explain_image,
    explain_log_odds,
)
from tests.concepts.registry import concept, near

EXAMPLES = Path(__file__).parents[2] / "examples"


@concept(53, stages=["data", "features", "logits", "softmax", "one_hot", "loss"])
def the_whole_way(stages):
    assert list(explain([4.0, 2.0, -2.0], 0).plot.stages) == stages
    assert "data → features → [logits] → [softmax] → [compare with truth] → [loss]" in str(explain([4.0, 2.0], 0))
    told = [step.id for step in explain_features([1.0], [[1.0], [2.0]], 0)]
    order = [told.index(step) for step in ("features", "logits", "probabilities", "truth", "loss")]
    assert order == sorted(order)


@concept(54, values=2_073_600, brightest=255, place=1921)
def a_picture_is_a_row_of_numbers(values, brightest, place):
    trace = explain_image(1080, 1920, row=1, column=1)
    near(trace["per_channel"].value, values)
    near(trace["all_values"].value, 3 * values)
    near(trace["brightest"].value, brightest)
    near(trace["place"].value, place)


@concept(
    55,
    files=[
        "next_token.py", "complaint_routing.py", "vgg16.py", "car_or_not.py", "three_bears.py", "five_objects.py",
        "mlp.py", "hot_dog.py", "house_price.py",
    ],
)  # fmt: skip
def every_context_is_an_example(files):
    for name in files:  # tests/test_documents.py runs each of them
        assert (EXAMPLES / name).is_file(), name


@concept(56, curves=["sigmoid", "logit", "surprisal"], drawn=["arrows", "bars", "curve", "matrix"])
def every_figure(curves, drawn):
    found = [
        explain(0.3, kind="binary")["probabilities"].plot,
        explain_log_odds(0.9)["logit"].plot,
        explain([4.0, 2.0, -2.0], 0)["surprisal"].plot,
    ]
    assert [plot.id for plot in found] == curves
    batch = explain([[4.0, 2.0], [1.0, 0.0]], [0, 1])
    kinds = (batch.plot, explain([4.0, 2.0])["probabilities"].plot, found[0], batch["probabilities"].plot)
    assert [type(plot) for plot in kinds] == [Arrows, Bars, Curve, Matrix]
    page = explain(0.3, "yes", kind="binary").html() + explain([4.0, 2.0], 0).html()
    assert all(f'class="{name}"' in page for name in drawn if name in ("arrows", "curve"))
    assert [type(plot).__name__.lower() for plot in kinds] == drawn
