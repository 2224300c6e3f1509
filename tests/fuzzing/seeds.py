"""Whole files of every kind, as small as they can be: what the mutators damage.

Each function fills an empty folder. They run covtool and torch themselves, so that the files are
those that people have.
"""

import argparse
import io
import json
import shutil
import tarfile
from contextlib import chdir, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import torch
from checkpoint_files import tiny_model
from safetensors.torch import save_file
from svdnet_runs import write_svdnet_run
from toy_data import COLORS, write_toy_data

from covtool.errors import InterruptedRunError
from covtool.prediction.predicting import predict_images
from covtool.prediction.request import PredictionRequest

CLASSES = ("blue", "green", "red")


def model():
    """A network for the classes of the toy data."""
    return tiny_model(num_classes=len(CLASSES))


def state() -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model().state_dict().items()}


def run(*arguments: object) -> None:
    """A command of covtool that must succeed; what it says is nobody's concern."""
    from covtool_cli import main

    said = io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said):
            main.run([str(argument) for argument in arguments])
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"{arguments} ended with {end.code}: {said.getvalue()}") from end


def data(folder: Path) -> Path:
    """The toy data in folders; two images of each class to train on, one to measure."""
    return write_toy_data(folder / "toy", train=2, val=1, side=32)


def safetensors(folder: Path) -> None:
    data(folder)
    save_file(state(), folder / "model.safetensors", metadata={"format": "pt"})


def torch_zip(folder: Path) -> None:
    data(folder)
    torch.save(state(), folder / "model.pth")


def torch_legacy(folder: Path) -> None:
    data(folder)
    torch.save(state(), folder / "model.pth", _use_new_zipfile_serialization=False)


def training_checkpoint(folder: Path) -> None:
    """What a training script saves: more than weights."""
    data(folder)
    weights = {f"module.{name}": tensor for name, tensor in state().items()}
    arguments = argparse.Namespace(model="test_resnet", num_classes=3, lr=0.1, mean=(0.5, 0.5, 0.5))
    whole = {
        "epoch": 3, "arch": "test_resnet", "state_dict": weights, "best_acc1": torch.tensor(71.5),
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]},
        "args": arguments, "classes": list(CLASSES),
        "class_to_idx": {name: place for place, name in enumerate(CLASSES)},
    }  # fmt: skip
    torch.save(whole, folder / "model.pth")


def whole_model(folder: Path) -> None:
    """A pickled module, with its classes by name."""
    data(folder)
    torch.save(model(), folder / "model.pth")


def own_file(folder: Path) -> None:
    """A file of covtool, with a head that was solved for; made once, and copied from then on."""
    before = folder.parent / ".own"
    if not before.exists():
        _make_own_file(before)
    shutil.copytree(before, folder, dirs_exist_ok=True)


def _make_own_file(folder: Path) -> None:
    folder.mkdir()
    torch_zip(folder)
    run(
        "convert", folder / "model.pth", "--head", "isqrt", "--dim", 4, "--img-size", 64,
        "--calibrate", folder / "toy", "-j", 0, "-o", folder / "own.safetensors",
    )  # fmt: skip


def hub_folder(folder: Path) -> None:
    """Weights beside a configuration, as in a repository of the Hub."""
    data(folder)
    save_file(state(), folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architecture": "test_resnet", "num_classes": 3, "label_names": list(CLASSES),
        "pretrained_cfg": {
            "input_size": [3, 160, 160], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5],
            "interpolation": "bicubic", "crop_pct": 0.95, "num_classes": 3, "classifier": "fc",
        },
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))


def shards(folder: Path) -> None:
    data(folder)
    tensors = state()
    names = list(tensors)
    parts = {
        "model-00001-of-00002.safetensors": names[:30],
        "model-00002-of-00002.safetensors": names[30:],
    }
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    places = {name: file for file, part in parts.items() for name in part}
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = {
        "architectures": ["x"],
        "id2label": dict(enumerate(CLASSES)),
        "architecture": "test_resnet",
    }
    (folder / "config.json").write_text(json.dumps(config))


def shards_in_a_folder(folder: Path) -> None:
    (folder / "model").mkdir()
    shards(folder / "model")
    shutil.rmtree(folder / "model" / "toy")


BESIDE = {
    "config.json": '{"architecture": "test_resnet", "num_classes": 3, "mean": [0.5, 0.5, 0.5]}',
    "preprocessor_config.json": '{"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2], '
    '"size": {"height": 96, "width": 96}, "do_normalize": true, "resample": 3, "crop_pct": 0.9}',
    "open_clip_config.json": '{"preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "size": 96}}',
    "args.yaml": "model: test_resnet\nnum_classes: 3\nmean: [0.1, 0.2, 0.3]\nimg_size: 96\n",
    "hparams.yaml": "arch: test_resnet\nimg_size: 96\nclass_to_idx: {blue: 0, green: 1, red: 2}\n",
    "class_to_idx.json": '{"blue": 0, "green": 1, "red": 2}',
    "id2label.json": '{"0": "blue", "1": "green", "2": "red"}',
    "classes.txt": "blue\ngreen\nred\n",
    "synsets.txt": "0 blue\n1 green\n2 red\n",
}
"""Files that are read beside a checkpoint."""


def beside(folder: Path) -> None:
    """A checkpoint with each of the files that may stand beside one."""
    data(folder)
    for name, text in BESIDE.items():
        place = folder / "beside" / name
        place.mkdir(parents=True)
        save_file(state(), place / "model.safetensors", metadata={"format": "pt"})
        (place / name).write_text(text)


def class_names(folder: Path) -> None:
    torch_zip(folder)
    (folder / "names.txt").write_text("blue\ngreen\nred\n")
    (folder / "names.json").write_text(json.dumps({n: k for k, n in enumerate(CLASSES)}))
    (folder / "names.yaml").write_text("- blue\n- green\n- red\n")


def path_list(folder: Path) -> None:
    """A text file with a path per line."""
    own_file(folder)
    found = sorted((folder / "toy" / "val").rglob("*.png"))
    (folder / "images.txt").write_text("".join(f"{p.relative_to(folder)}\n" for p in found))


def cache(folder: Path) -> None:
    """Decoded images."""
    torch_zip(folder)
    run(
        "finetune", folder / "model.pth", "--data", folder / "toy", "--epochs", 1, "--img-size", 32,
        "-b", 3, "-j", 0, "--device", "cpu", "--output", folder / "runs", "--experiment", "x",
        "--cache", "disk", "--cache-dir", folder / "cache",
    )  # fmt: skip
    shutil.rmtree(folder / "runs")


def recipe(folder: Path) -> None:
    """Operations to do, for --recipe."""
    torch_zip(folder)
    (folder / "recipe.yaml").write_text(RECIPE)


RECIPE = """\
operations:
- operation: head
  head: isqrt
  dim: 8
  iterations: 5
  pre_norm: trace
  post_norm: trace
  vec: triu
"""


def config(folder: Path) -> None:
    """Options, for --config."""
    torch_zip(folder)
    for command, options in CONFIGS.items():
        (folder / f"{command}.yaml").write_text(options)


CONFIGS = {
    "inspect": "arch: test_resnet\nweights: auto\ncorrelation: false\n",
    "evaluate": "split: val\nbatch_size: 2\nworkers: 0\ndevice: cpu\nimg_size: 64\nmean: 0.5\n",
    "convert": "head: isqrt\ndim: 4\nnum_classes: 3\noverwrite: false\neps: 0.001\n",
}


def images(folder: Path) -> None:
    """A data set one of whose images is of a format by itself."""
    own_file(folder)


def image_list(folder: Path) -> None:
    own_file(folder)
    rows = ["path,label,split"]
    for split in ("train", "val"):
        for image in sorted((folder / "toy" / split).rglob("*.png")):
            rows.append(f"{image.relative_to(folder)},{image.parent.name},{split}")
    (folder / "list.csv").write_text("\n".join(rows) + "\n")


def retrieval_list(folder: Path) -> None:
    own_file(folder)
    rows = ["path,identity,camera,split"]
    for number, image in enumerate(sorted((folder / "toy").rglob("*.png"))):
        split = ("query", "gallery", "gallery")[number % 3]
        rows.append(f"{image.relative_to(folder)},{image.parent.name},{number % 2},{split}")
    (folder / "list.csv").write_text("\n".join(rows) + "\n")


def features(folder: Path) -> None:
    """Features of the images of a retrieval task, in every format."""
    retrieval_list(folder)
    for suffix in ("npz", "csv", "safetensors"):
        output = folder / f"features.{suffix}"
        run("embed", folder / "own.safetensors", folder / "list.csv", "-o", output, "-j", 0)


def file_with_neighbors(folder: Path) -> None:
    """A file of covtool that keeps embeddings of its training images."""
    torch_zip(folder)
    run(
        "convert", folder / "model.pth", "--head", "gap", "--img-size", 32, "--calibrate",
        folder / "toy", "--keep-neighbors", "-j", 0, "-o", folder / "own.safetensors",
    )  # fmt: skip


def index(folder: Path) -> None:
    """An index to search in."""
    retrieval_list(folder)
    images, output = folder / "list.csv", folder / "toy.index"
    run("index", folder / "own.safetensors", images, "-j", 0, "-o", output)


def interrupted_predictions(folder: Path) -> None:
    """Predictions that were ended after their first batch."""
    own_file(folder)
    own = {"source": "own.safetensors", "batch_size": 2, "workers": 0}
    answered = 0

    def stop(answer: object) -> None:
        nonlocal answered
        answered += 1
        if answered == 3:
            raise KeyboardInterrupt

    with chdir(folder), suppress(InterruptedRunError):
        request = PredictionRequest(images=("toy/train",), output=Path("answers.csv"), **own)
        predict_images(request, on_prediction=stop)


def records(folder: Path) -> None:
    """Images in tar files."""
    own_file(folder)
    (folder / "shards").mkdir()
    for split in ("train", "val"):
        with tarfile.open(folder / "shards" / f"{split}-000.tar", "w") as archive:
            for number, image in enumerate(sorted((folder / "toy" / split).rglob("*.png"))):
                label = str(COLORS.index(image.parent.name)).encode()
                for suffix, content in (("png", image.read_bytes()), ("cls", label)):
                    info = tarfile.TarInfo(f"{number:04}.{suffix}")
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))


def training_run(folder: Path) -> None:
    """A finished run, whose paths are those of the folder that it is copied to."""
    torch_zip(folder)
    run(
        "finetune", folder / "model.pth", "--data", folder / "toy", "--epochs", 2, "--img-size", 32,
        "-b", 3, "-j", 0, "--device", "cpu", "--output", folder / "runs", "--experiment", "x",
    )  # fmt: skip
    _move_up(folder / "runs/finetune/x", folder / "run")


def svdnet_run(folder: Path) -> None:
    """What is plotted of a run of SVDNet; nothing was trained."""
    write_svdnet_run(folder / "run")


def stopped_run(folder: Path) -> None:
    """What a run leaves behind that stopped on a loss that is not finite."""
    torch_zip(folder)
    weights = torch.load(folder / "model.pth")
    weights["fc.weight"].sign_().mul_(3e38)
    torch.save(weights, folder / "model.pth")
    with suppress(RuntimeError):  # exit code 5
        run(
            "finetune", folder / "model.pth", "--data", folder / "toy", "--epochs", 1,
            "--img-size", 32, "-b", 3, "-j", 0, "--device", "cpu", "--output", folder / "runs",
            "--experiment", "x",
        )  # fmt: skip
    _move_up(folder / "runs/finetune/x", folder / "run")


def _move_up(made: Path, place: Path) -> None:
    shutil.move(made, place)
    shutil.rmtree(made.parents[1])
    arguments = place / "args.yaml"
    arguments.write_text(arguments.read_text().replace(f"{place.parent}/", ""))
