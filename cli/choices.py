"""Names that the shell completes for options whose values are text: `CHOICES`.

Written out, here and in `covtool.variant_names`, since the tables of variants import torch, and a
shell does not wait for it; the tests compare them with the tables. Options of a closed set of words
complete by themselves.
"""

from typer.core import TyperOption

from covtool.variant_names import CONVOLUTIONS, HEADS, MAGNITUDES

OPTIMIZERS = (
    *("adadelta", "adafactor", "adagrad", "adam", "adamax", "adamp", "adamw", "adan", "adopt"),
    *("kron", "lamb", "laprop", "lars", "lion", "madgrad", "mars", "momentum", "muon", "nadam"),
    *("nadamw", "nesterov", "novograd", "radam", "rmsprop", "rmsproptf", "sgd", "sgdp", "sgdw"),
)
"""Those of timm that need no other package, without its variants of each."""

PRESETS = ("fgvc", "reid", "imagenet", "quick")

CHOICES: dict[str, tuple[str, ...]] = {
    "angular": ("linear", "cosine", "sigmoid", "square-cosine"),
    "attack": ("fgsm", "pgd"),
    "conv": CONVOLUTIONS,
    "device": ("auto", "cpu", "cuda", "mps"),
    "head": HEADS,
    "loss": ("ce", "bce", "triplet", "circle"),
    "lr": ("auto",),
    "magnitudes": MAGNITUDES,
    "opt": OPTIMIZERS,
    "preset": PRESETS,
    "weighting": ("none", "linear", "tanh"),
    "bench retrieval metric": ("cosine", "euclidean"),
    "bench retrieval search": ("exact", "rerank"),
    "list show": PRESETS,
}
"""By parameter, or, where its name means something else elsewhere, by command and parameter."""


def complete_in(parameter: TyperOption, command: str) -> None:
    """Let the shell complete an option's values, where `CHOICES` has names for them."""
    name = parameter.name
    names = CHOICES.get(f"{command} {name}") or CHOICES.get(name)
    if names and not parameter.type_descriptor.is_choice:
        # typer completes by functions that are given to new options only
        like = TyperOption(
            param_decls=parameter.opts,
            type_descriptor=parameter.type_descriptor,
            autocompletion=lambda ctx, args, incomplete: names,
        )
        parameter.shell_complete = like.shell_complete
