"""The table of kinds: which files there are, how they are damaged, and which calls read them.

A new kind is a function of `seeds` and a row here.
"""

from collections.abc import Callable
from pathlib import Path

from fuzzing import data_seeds, seeds
from fuzzing.kind import Call, Kind
from fuzzing.mutators.archives import TAR, TORCH_ZIP, ZIP
from fuzzing.mutators.arrays import ARRAYS
from fuzzing.mutators.documents import JSON, YAML
from fuzzing.mutators.mutator import Mutator
from fuzzing.mutators.pickles import LEGACY
from fuzzing.mutators.pictures import IMAGE
from fuzzing.mutators.raw import RAW
from fuzzing.mutators.recipes import HOSTILE_RECIPE, HOSTILE_YAML
from fuzzing.mutators.tables import CSV, JSON_LINES, LISTS
from fuzzing.mutators.tensor_headers import RECIPE, SAFETENSORS
from fuzzing.mutators.trees import TREE

USAGE, CHECKPOINT, DATA, NON_FINITE = 2, 3, 4, 5


def library(words: list[str]) -> object:
    """A function of `covtool` on a path: ``load PATH``, ``identify PATH``."""
    import covtool

    return getattr(covtool, words[0])(Path(words[1]))


def refusing(*codes: int) -> Callable[..., Call]:
    """Make calls that may refuse with `codes`."""

    def call(words: str, *writes: str, **more: object) -> Call:
        return Call(tuple(words.split()), frozenset(codes), writes, **more)

    return call


checkpoint, usage, either = refusing(CHECKPOINT), refusing(USAGE), refusing(USAGE, CHECKPOINT)
images, data, state = (
    refusing(CHECKPOINT, DATA),
    refusing(DATA),
    refusing(USAGE, CHECKPOINT, DATA),
)


def reading(file: str, function: str = "identify") -> tuple[Call, ...]:
    """The calls that read a checkpoint; `function` is the library's for it."""
    change = "--head isqrt --dim 4" if function == "identify" else "--eigenlayer 2"
    return (
        checkpoint(f"inspect {file}"),
        checkpoint(f"inspect {file} --json"),
        checkpoint(f"convert {file} {change} -o out.safetensors", "out.safetensors"),
        images(f"evaluate {file} --data toy -j 0 --device cpu --json"),
        checkpoint(f"{function} {file}", run=library),
        images(f"embed {file} toy/val -j 0 --device cpu -o out.npz", "out.npz"),
    )


def checkpoint_kind(
    name: str,
    make: Callable[[Path], None],
    file: str,
    mutators: tuple[Mutator, ...],
    **more: object,
) -> Kind:
    """A kind whose one target is a checkpoint."""
    function = "load" if make is seeds.own_file else "identify"
    return Kind(name, make, {file: (*mutators, *RAW)}, reading(file, function), **more)


RUN_FILES = {
    "run/args.yaml": (*YAML, *RAW),
    "run/recipe.yaml": (*YAML, *HOSTILE_YAML, *RAW),
    "run/summary.csv": (*CSV, *RAW),
    "run/metrics.jsonl": (*JSON_LINES, *RAW),
    "run/images.csv": (*CSV, *RAW),
    "run/env.json": (*JSON, *RAW),
    "run/result.json": (*JSON, *RAW),
    "run/checkpoints/last.pt": (*TORCH_ZIP, *RAW),
    "run/checkpoints/previous.pt": (*TORCH_ZIP, *RAW),
    "run/exported/best.safetensors": (*SAFETENSORS, *RECIPE, *RAW),
}

KINDS = (
    checkpoint_kind("safetensors", seeds.safetensors, "model.safetensors", SAFETENSORS),
    checkpoint_kind(
        "torch-zip", seeds.torch_zip, "model.pth", TORCH_ZIP, checksummed=("model.pth",)
    ),
    checkpoint_kind("torch-legacy", seeds.torch_legacy, "model.pth", LEGACY),
    checkpoint_kind(
        "training-checkpoint",
        seeds.training_checkpoint,
        "model.pth",
        TORCH_ZIP,
        checksummed=("model.pth",),
    ),
    checkpoint_kind(
        "whole-model", seeds.whole_model, "model.pth", TORCH_ZIP, whole_code=CHECKPOINT
    ),
    checkpoint_kind(
        "own-file", seeds.own_file, "own.safetensors", SAFETENSORS, checksummed=("own.safetensors",)
    ),
    checkpoint_kind("recipe", seeds.own_file, "own.safetensors", (*RECIPE, *HOSTILE_RECIPE)),
    Kind(
        "hub-folder",
        seeds.hub_folder,
        {"config.json": (*JSON, *RAW)},
        (*reading("model.safetensors"), checkpoint("inspect .")),
    ),
    Kind(
        "shards",
        seeds.shards,
        {
            "model.safetensors.index.json": (*JSON, *RAW),
            "model-00001-of-00002.safetensors": (*SAFETENSORS, *RAW),
            "config.json": (*JSON, *RAW),
        },
        (*reading("model.safetensors.index.json"), checkpoint("inspect .")),
    ),
    Kind(
        "shard-folder",
        seeds.shards_in_a_folder,
        {"model": TREE},
        (
            checkpoint("inspect model", follows_paths=True),
            checkpoint("inspect model/model.safetensors.index.json", follows_paths=True),
            checkpoint("inspect model/model-00001-of-00002.safetensors", follows_paths=True),
        ),
    ),
    Kind(
        "recipe-yaml",
        seeds.recipe,
        {"recipe.yaml": (*YAML, *HOSTILE_YAML, *RAW)},
        (
            either("convert model.pth --recipe recipe.yaml -o out.safetensors", "out.safetensors"),
            either("convert model.pth --recipe recipe.yaml --plan"),
        ),
    ),
    Kind(
        "config-yaml",
        seeds.config,
        {f"{command}.yaml": (*YAML, *RAW) for command in seeds.CONFIGS},
        (
            either("inspect model.pth --config inspect.yaml"),
            state("evaluate model.pth --data toy --config evaluate.yaml"),
            either("convert model.pth --config convert.yaml -o out.safetensors", "out.safetensors"),
        ),
    ),
    Kind(
        "images",
        seeds.images,
        {"toy/val/red/0.png": (*IMAGE, *RAW), "toy/train/blue/0.png": (*IMAGE, *RAW)},
        (
            data("evaluate own.safetensors --data toy -j 0 --device cpu --json"),
            data("evaluate own.safetensors --data toy -j 0 --device cpu --on-bad-image skip"),
            data("embed own.safetensors toy -j 0 --device cpu -o out.npz", "out.npz"),
            data("embed own.safetensors toy/val/red/0.png -j 0 --device cpu -o out.csv", "out.csv"),
            data(
                "convert model.pth --head isqrt --dim 4 --img-size 64 --calibrate toy -j 0 "
                "--on-bad-image skip --device cpu -o out.safetensors",
                "out.safetensors",
            ),
        ),
    ),
    Kind(
        "image-list",
        seeds.image_list,
        {"list.csv": (*CSV, *RAW)},
        (
            data("evaluate own.safetensors --data list.csv -j 0 --json", follows_paths=True),
            data(
                "embed own.safetensors list.csv -j 0 -o out.npz --on-bad-image skip",
                "out.npz",
                follows_paths=True,
            ),
        ),
    ),
    Kind(
        "retrieval-list",
        seeds.retrieval_list,
        {"list.csv": (*CSV, *RAW)},
        (
            data("evaluate own.safetensors --data list.csv -j 0 --json", follows_paths=True),
            data("embed own.safetensors list.csv -j 0 -o out.csv", "out.csv", follows_paths=True),
        ),
    ),
    Kind(
        "path-list",
        seeds.path_list,
        {"images.txt": (*LISTS, *RAW)},
        (data("embed own.safetensors images.txt -j 0 -o out.npz", "out.npz", follows_paths=True),),
    ),
    Kind(
        "class-names",
        seeds.class_names,
        {"names.txt": (*LISTS, *RAW), "names.json": (*JSON, *RAW), "names.yaml": (*YAML, *RAW)},
        tuple(
            state(f"evaluate model.pth --data toy -j 0 --json --class-names names.{suffix}")
            for suffix in ("txt", "json", "yaml")
        ),
    ),
    Kind(
        "beside",
        seeds.beside,
        {
            "beside/*/*.json": (*JSON, *RAW),
            "beside/*/*.yaml": (*YAML, *RAW),
            "beside/*/*.txt": (*LISTS, *RAW),
        },
        (
            checkpoint("inspect {top}/model.safetensors"),
            images("evaluate {top}/model.safetensors --data toy -j 0 --json"),
        ),
    ),
    Kind(
        "published",
        data_seeds.published,
        {
            "data/*/**/*.txt": (*LISTS, *RAW),
            "data/*/**/*.json*": (*JSON, *RAW),
            "data/*/**/*.csv": (*CSV, *RAW),
            "data/*/**/*.mat": RAW,
            "data/*": TREE,
        },
        (
            data("embed own.safetensors {top} -j 0 -o out.npz", "out.npz", follows_paths=True),
            data("finetune model.pth --data {top} --new-classifier --dry-run", follows_paths=True),
        ),
    ),
    Kind(
        "published-retrieval",
        data_seeds.retrieval,
        {"data/*/**/*.txt": (*LISTS, *RAW), "data/*": TREE},
        (
            data("embed own.safetensors {top} -j 0 -o out.npz", "out.npz", follows_paths=True),
            data("evaluate own.safetensors --data {top} -j 0 --json", follows_paths=True),
        ),
    ),
    Kind(
        "class-folders",
        seeds.images,
        {"toy": TREE, "toy/val": TREE},
        (
            data("evaluate own.safetensors --data toy -j 0 --json", follows_paths=True),
            data(
                "evaluate own.safetensors --data toy -j 0 --on-bad-image skip", follows_paths=True
            ),
            data("embed own.safetensors toy -j 0 -o out.csv", "out.csv", follows_paths=True),
            data("finetune model.pth --data toy --new-classifier --dry-run", follows_paths=True),
        ),
    ),
    Kind(
        "cache",
        seeds.cache,
        {"cache/*": (*SAFETENSORS, *RAW), "cache": TREE},
        (
            data(
                "finetune model.pth --data toy --epochs 1 --img-size 32 -b 3 -j 0 --device cpu "
                "--cache disk --cache-dir cache --output runs --experiment y",
                "runs",
                "cache",
                follows_paths=True,
            ),
        ),
    ),
    Kind(
        "features",
        seeds.features,
        {
            "features.npz": (*ZIP, *ARRAYS, *RAW),
            "features.csv": (*CSV, *RAW),
            "features.safetensors": (*SAFETENSORS, *RAW),
        },
        tuple(
            data(f"evaluate --distances-from features.{suffix} --data list.csv --json")
            for suffix in ("npz", "csv", "safetensors")
        ),
        checksummed=("features.safetensors",),
    ),
    Kind(
        "neighbors",
        seeds.file_with_neighbors,
        {"own.safetensors": (*SAFETENSORS, *RECIPE, *RAW)},
        (
            checkpoint("inspect own.safetensors --json"),
            images("evaluate own.safetensors --data toy --unknown toy/val/red/0.png -j 0 --json"),
            images("predict own.safetensors toy -j 0 -o out.jsonl", "out.jsonl"),
            checkpoint("load own.safetensors", run=library),
        ),
        checksummed=("own.safetensors",),
    ),
    Kind(
        "index",
        seeds.index,
        {"toy.index": (*SAFETENSORS, *RAW)},
        (
            images("search toy.index toy/val -j 0 --model own.safetensors --json"),
            images(
                "index toy.index toy/val/red/0.png --remove -j 0 --model own.safetensors",
                "toy.index",
            ),
            data("evaluate --distances-from toy.index --data list.csv --json"),
        ),
        checksummed=("toy.index",),
    ),
    Kind(
        "predictions",
        seeds.interrupted_predictions,
        {"answers.csv.partial": (*CSV, *RAW), "answers.csv.partial.journal": (*JSON_LINES, *RAW)},
        (
            state(
                "predict own.safetensors toy/train -b 2 -j 0 -o answers.csv --resume", "answers.csv"
            ),
        ),
    ),
    Kind(
        "records",
        seeds.records,
        {"shards/*.tar": (*TAR, *RAW), "shards": TREE},
        (
            data("evaluate own.safetensors --data wds/shards -j 0 --json", follows_paths=True),
            data(
                "evaluate own.safetensors --data wds/shards -j 0 --json --on-bad-image skip",
                follows_paths=True,
            ),
            data(
                "finetune model.pth --data wds/shards --new-classifier --dry-run",
                follows_paths=True,
            ),
        ),
        needs="webdataset",
    ),
    Kind(
        "run",
        seeds.training_run,
        RUN_FILES,
        (
            state("finetune --resume run", "run"),
            state("finetune --resume run --epochs 3", "run"),
            state("plot run run -o out.svg", "out.svg"),
            state("inspect run"),
            state("evaluate run --data toy -j 0 --json"),
            state("inspect run/checkpoints/last.pt"),
        ),
        checksummed=("run/exported/best.safetensors", "run/checkpoints/last.pt"),
    ),
    Kind(
        "run-folder",
        seeds.training_run,
        {"run": TREE},
        (
            state("finetune --resume run", "run", follows_paths=True),
            state("plot run run -o out.svg", "out.svg", follows_paths=True),
            state("inspect run", follows_paths=True),
        ),
    ),
    Kind(
        "svdnet-run",
        seeds.svdnet_run,
        {name: RUN_FILES[name] for name in ("run/summary.csv", "run/metrics.jsonl")},
        (state("plot rri run -o out.svg", "out.svg"), state("plot run run -o out.svg", "out.svg")),
    ),
    Kind(
        "replay-dump",
        seeds.stopped_run,
        {"run/nonfinite.pt": (*TORCH_ZIP, *RAW)},
        (state("doctor --replay run/nonfinite.pt --device cpu"), state("inspect run/nonfinite.pt")),
        checksummed=("run/nonfinite.pt",),
    ),
)

BY_NAME = {kind.name: kind for kind in KINDS}
