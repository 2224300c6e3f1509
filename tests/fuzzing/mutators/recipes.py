"""Recipes that say something that nobody should do: reach elsewhere, or take all memory."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

import yaml

from fuzzing.mutators import documents, tensor_headers
from fuzzing.mutators.mutator import Change, rows

NAMES = (
    "hf-hub:evil/x",
    "hf_hub:evil/x",
    "local-dir:/etc",
    "local-dir:.",
    "/etc/passwd",
    "test_resnet.x",
    "test_resnet\n",
    "https://evil.example/x",
    "fcn_resnet50",
    "fasterrcnn_resnet50_fpn",
    "resnet18",
    "raft_small",
    "vit_giant_patch14_224",
    "test_resnet ",
    "TEST_RESNET",
    "",
    "../x",
    "alexnet",
    "quantized_resnet18",
    "deeplabv3_resnet50",
    "vit_base_patch16_224",
    "test_vit",
    "test_efficientnet",
)

ARGUMENTS = (
    {"checkpoint_path": "/etc/passwd"},
    {"checkpoint_path": "../../../etc/passwd"},
    {"device": "meta"},
    {"pretrained": True},
    {"pretrained_cfg": "hf-hub:evil/x"},
    {"pretrained_cfg": {"url": "http://x"}},
    {"pretrained_cfg_overlay": {"file": "/etc/passwd"}},
    {"cache_dir": "/tmp/x"},
    {"img_size": 15000},
    {"in_chans": 10**6},
    {"in_chans": 0},
    {"in_chans": -1},
    {"num_classes": 10**9},
    {"features_only": True},
    {"weights": "DEFAULT"},
    {"weights_backbone": "DEFAULT"},
    {"norm_layer": "os.system"},
    {"scriptable": True},
    {"drop_rate": "x"},
    {"global_pool": "evil"},
    {"stem_width": 10**6},
    {"layers": [10**6] * 4},
    {"block": "x"},
    {"width": 10**5},
    {"dtype": "float64"},
    {"": 1},
    {"model_name": "x"},
    {"embed_dim": 10**6},
)

PLACES = (
    ("input", "size", [15000, 15000]),
    ("input", "size", [10**9, 1]),
    ("input", "size", [1, 1]),
    ("input", "mean", [0.5]),
    ("input", "mean", [0.5] * 4),
    ("input", "std", [0.0, 0.0, 0.0]),
    ("input", "std", [float("nan")] * 3),
    ("input", "mean", [float("inf")] * 3),
    ("input", "channels", 10**6),
    ("input", "crop_pct", 1e-300),
    ("base", "library", "torchvision"),
    ("base", "library", "os"),
)

OPERATION = (
    ("iterations", 10**9),
    ("dim", 10**6),
    ("dim", 2**63),
    ("dim", 0),
    ("tap", "os"),
    ("tap", "layer9"),
    ("tap", ""),
    ("tap", "layer1.0.conv1"),
    ("head", "evil"),
    ("head", "mpn"),
    ("head", "gap"),
    ("operation", "evil"),
    ("gradient", "x"),
    ("degree", 10**9),
    ("sketch_size", 10**12),
    ("alpha", 1e-300),
    ("gradient_order", 10**9),
    ("eps", float("nan")),
    ("reduction", "none"),
    ("fuse", "gap"),
    ("vec", "full"),
)


def hostile(recipe: Any, random: Random) -> Any:
    """A recipe with such a value in it."""
    kind = random.randrange(6)
    if kind == 0:
        recipe["base"]["name"] = random.choice(NAMES)
    elif kind == 1:
        recipe["base"]["arguments"] = random.choice(ARGUMENTS)
    elif kind == 2:
        around, key, value = random.choice(PLACES)
        recipe[around][key] = value
    elif kind == 3:
        key, value = random.choice(OPERATION)
        random.choice(recipe["operations"])[key] = value
    elif kind == 4:
        recipe["operations"] = random.choice((
            [], recipe["operations"] * 2, recipe["operations"] * 5000,
            [*recipe["operations"], {"operation": "eigenlayer", "features": 10**7}],
            [{"operation": "last-stride"}, *recipe["operations"]], [{"operation": "x"}], None,
        ))  # fmt: skip
    else:
        recipe["class_names"] = random.choice((
            [], ["a"], ["a"] * 3, ["\x1b[2J", "b", "c"], ["x" * 10**5, "b", "c"], ["a"] * 10**5,
            "abc", None, [None] * 3, {"a": 0},
        ))  # fmt: skip
        recipe["num_classes"] = random.choice((recipe["num_classes"], 0, 1, 10**9, 3))
    return recipe


def _in(read: Callable[[bytes], Any], write: Callable[[Any, Random], bytes]) -> Change:
    def hostile_values(content: bytes, random: Random) -> bytes:
        return write(hostile(read(content), random), random)

    return hostile_values


_OF_JSON = _in(json.loads, documents.json_text)
HOSTILE_RECIPE = rows(tensor_headers.in_recipe(_OF_JSON, "covtool.recipe"), weight=12)
HOSTILE_YAML = rows(_in(yaml.safe_load, documents.yaml_text), weight=6)
