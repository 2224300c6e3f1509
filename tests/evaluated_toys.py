"""A small network on the toy data, and the request that evaluates it."""

import torch
from toy_data import COLORS, write_toy_data

from covtool.backbones.create import create_model
from covtool.checkpoints.model_file import save
from covtool.evaluation.evaluate import EvaluationRequest
from covtool.specs import BaseSpec, HeadSpec, InputSpec, Provenance, Recipe
from covtool.surgery.head import apply_head, plan_head

SMALL = InputSpec(size=(32, 32))


def evaluated_toy(folder, *, seed=0, val=3, head=None):
    """Return a request; its model is as random as the seed, saved as if it were trained."""
    torch.manual_seed(seed)
    base = BaseSpec(library="timm", name="test_resnet")
    model, operations = create_model(base, num_classes=3), ()
    if head is not None:
        operations = (HeadSpec(head=head, dim=8),)
        model = apply_head(model, plan_head(model, *operations, SMALL))
    with torch.no_grad():
        classifier = model.get_classifier()
        classifier.weight.mul_(20)  # probabilities that differ
    model.recipe = Recipe(
        base=base,
        operations=operations,
        num_classes=3,
        class_names=COLORS,
        input=SMALL,
        provenance=Provenance(covtool_version="0"),
    )
    data = folder / "toy"
    if not data.exists():
        write_toy_data(data, train=4, val=val)
    path = save(model, folder / f"net{seed}{head or ''}.safetensors")
    return EvaluationRequest(source=str(path), data=data, workers=0, keep_answers=True)
