"""timm's ``reset_classifier`` on a converted model.

timm writes the classifier for as many features as its own pooling gives, and knows nothing of
another. So the class of a converted model gains a method that does.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import nn

from covtool.backbones.plain_pooling import plain_pooling
from covtool.errors import SurgeryError
from covtool.layers.fused_pooling import remove_second_order
from covtool.layers.joint_pooling import release_taps
from covtool.layers.mixing import mix_in, mix_out
from covtool.specs import Recipe
from covtool.surgery.describing import attach_recipe, detach_recipe
from covtool.surgery.module_types import TimmModel, module_at

# At run time the class of the model comes behind the mixin; the type checker has to know one.
if TYPE_CHECKING:
    _Model = TimmModel
else:
    _Model = object

HEAD = "covtool_head"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplacedHead:
    """Facts about a converted model that ``reset_classifier`` needs.

    Attributes:
        pooling: Path of the pooling.
        classifier: Path of the classifier.
        in_features: Number of features that enter it.
        first_features: Number of features that entered it before the conversion.
        channels: Channels of the feature map that is pooled, of several the last one.
        layout: Order of the map's axes.
        num_prefix_tokens: Class and register tokens at its front.
        flattening: Paths of the modules that flatten pooled features.
        carried: Paths of modules that work on first-order features and hand the others on.
        is_fused: Whether there are first-order features beside the others.
        widened: Path of the linear layer that takes the pooled features, with others behind it;
            None where the classifier takes them.
    """

    pooling: str
    classifier: str
    in_features: int
    first_features: int
    channels: int
    layout: str
    num_prefix_tokens: int
    flattening: tuple[str, ...]
    carried: tuple[str, ...]
    is_fused: bool
    widened: str | None


class _Resettable(_Model):
    """Mixin: ``reset_classifier`` that knows of covtool's pooling."""

    def reset_classifier(
        self, num_classes: int, global_pool: str | None = None, **others: object
    ) -> None:
        """Make a new classifier at random, as timm's method of that name does.

        Args:
            num_classes: Its outputs; 0 for none: the model puts out the pooled features.
            global_pool: None keeps covtool's pooling. Another puts timm's in its place, in front
                of a classifier on the feature map's channels: ``avg``, ``max``, ``""`` for none.
            others: Arguments of the model's own method, for the layers that a conversion with
                ``--fuse`` leaves between pooling and classifier.

        Raises:
            ArgumentError: timm has no such pooling.
            SurgeryError: There would be a classifier without pooled features.
        """
        head: ReplacedHead = getattr(self, HEAD)
        _forget_classes(self, num_classes, keeps_structure=global_pool is None)
        if global_pool is None:
            _new_classifier_(self, head, num_classes)
        elif head.is_fused:
            # The class is timm's again: this is its own method.
            _unfuse_(self, head)
            self.reset_classifier(num_classes, global_pool, **others)
        else:
            _pool_plainly_(self, head, num_classes, global_pool)


def make_resettable_(model: nn.Module, head: ReplacedHead) -> None:
    """Let a converted model's ``reset_classifier`` work, in place; torchvision has none."""
    if hasattr(model, "reset_classifier"):
        setattr(model, HEAD, head)
        if not isinstance(model, _Resettable):  # a second head on a converted model
            mix_in(model, _Resettable)


def _new_classifier_(model: TimmModel, head: ReplacedHead, num_classes: int) -> None:
    new = nn.Linear(head.in_features, num_classes) if num_classes > 0 else nn.Identity()
    _put(model, head.classifier, new)
    model.num_classes = num_classes
    # timm's name for the length of what enters the classifier.
    model.head_hidden_size = head.in_features


def _pool_plainly_(model: TimmModel, head: ReplacedHead, num_classes: int, pool: str) -> None:
    if not pool and num_classes > 0 and head.layout == "NCHW":
        raise SurgeryError(
            "A linear classifier needs pooled features.",
            hint="Choose reset_classifier(0, '') for feature maps, or a pooling: 'avg'.",
        )
    pooling, factor = plain_pooling(pool, head.layout, head.num_prefix_tokens)
    release_taps(model, model.get_submodule(head.pooling))
    _put(model, head.pooling, pooling)
    for path in head.flattening:
        _put(model, path, nn.Flatten(1) if pool else nn.Identity())
    if isinstance(getattr(model, "global_pool", None), str):
        model.global_pool = pool
    if head.widened:
        hidden = module_at(model, head.widened, nn.Linear).out_features
        _put(model, head.widened, nn.Linear(factor * head.channels, hidden))
    else:
        head = replace(head, in_features=factor * head.channels)
        setattr(model, HEAD, head)
    _new_classifier_(model, head, num_classes)


def _unfuse_(model: TimmModel, head: ReplacedHead) -> None:
    """Give the model its own pooling, and its class, back."""
    remove_second_order(model, head.pooling, head.carried)
    delattr(model, HEAD)
    model.head_hidden_size = head.first_features  # some of timm's methods read it
    mix_out(model, _Resettable)


def _put(model: nn.Module, path: str, new: nn.Module) -> None:
    reference = next(model.parameters())
    model.set_submodule(path, new.to(reference.device, reference.dtype).train(model.training))


def _forget_classes(model: TimmModel, num_classes: int, *, keeps_structure: bool) -> None:
    """Take the classes, or the whole recipe where the structure changes, off the model."""
    recipe: Recipe | None = getattr(model, "recipe", None)
    if recipe is None:
        return
    detach_recipe(model)
    if keeps_structure and num_classes > 0:
        provenance = recipe.provenance.model_copy(update={"metrics": ()})
        changes = {"num_classes": num_classes, "class_names": None, "provenance": provenance}
        # In timm's configuration too, which would go on naming the old classes.
        attach_recipe(model, recipe.model_copy(update=changes))
