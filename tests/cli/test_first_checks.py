"""What is answered before torch is loaded: wrong paths and names, and outputs that exist."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

import covtool
from covtool.checkpoints.naming import require_model
from covtool.data.datasets.image_sources import find_images
from covtool.data.datasets.places import require_data_set, require_images
from covtool.data.datasets.reading import scan
from covtool.data.datasets.survey import survey
from covtool.errors import CovtoolError, UnknownVariantError
from covtool.indexing.index_file import read_record
from covtool.indexing.places import require_index
from covtool.ops.angular import ANGULAR_ACTIVATIONS
from covtool.ops.eigen_gradients import GRADIENTS
from covtool.prediction.image_inputs import find_inputs
from covtool.specs import TrainingSpec
from covtool.training.parts.optimizer import build_optimizer
from covtool.variant_names import KINDS, require_optimizer, require_variant
from covtool.variants import CONVOLUTIONS, HEADS
from covtool_cli import first_checks
from covtool_cli.commands.bench import BENCHMARKS
from covtool_cli.lazy import load_command
from covtool_cli.main import COMMANDS

MODEL, DATA, OUTPUT, NAME, SHAPE, RUNS = "model", "data", "output", "name", "shape", "runs"
CODES = {MODEL: 3, DATA: 4, OUTPUT: 2, NAME: 2, SHAPE: 2, RUNS: 2}

WRONG = {
    "inspect": {MODEL: "net.pht"},
    "compare": {
        MODEL: "missing.pth --data birds",
        DATA: "net.pth --data brds",
        OUTPUT: "net.pth --data birds --csv taken.csv",
        NAME: "net.pth --data birds --head isqr:dim=8",
    },
    "convert": {
        MODEL: "resnet5 --head isqrt",
        DATA: "net.pth --calibrate brds -o new.safetensors",
        OUTPUT: "net.pth --head isqrt",
        NAME: "net.pth --head isqr",
    },
    "data": {
        MODEL: "birds --model torchvision:resnet5",
        DATA: "brds",
        OUTPUT: "birds --csv taken.csv",
    },
    "finetune": {
        MODEL: "missing.pth --data birds",
        DATA: "net.pth --data brds",
        NAME: "net.pth --data birds --opt sgdd",
    },
    "svdnet-rri": {
        MODEL: "resnet50.nope --data birds",
        DATA: "net.pth --data wds/brds",
        NAME: "net.pth --data birds --opt sgdd",
    },
    "evaluate": {
        MODEL: "no/net.pth --data birds",
        DATA: "net.pth --data brds",
        OUTPUT: "net.pth --data birds --embeddings taken.npz",
    },
    "predict": {
        MODEL: "missing.pth birds",
        DATA: "net.pth brds",
        OUTPUT: "net.pth birds -o taken.csv",
    },
    "embed": {
        MODEL: "birds birds -o new.npz",
        DATA: "net.pth brds -o new.npz",
        OUTPUT: "net.pth birds -o taken.npz",
    },
    "card": {MODEL: "missing.pth", OUTPUT: "net.pth -o taken.md"},
    "push": {MODEL: "missing.safetensors me/birds"},
    "export": {
        MODEL: "missing.pth -o new.onnx",
        DATA: "net.pth -o new.onnx --data brds",
        OUTPUT: "net.pth -o taken.onnx",
    },
    "average": {
        MODEL: "net.pth missing.pth -o new.safetensors",
        DATA: "net.pth net.pth -o new.safetensors --data brds",
        OUTPUT: "net.pth net.pth -o taken.safetensors",
    },
    "diff": {MODEL: "net.pth missing.pth", RUNS: "runs --against runs/missing"},
    "report": {DATA: "runs/missing"},
    "index": {
        MODEL: "missing.pth birds -o new.index",
        DATA: "net.pth brds -o new.index",
        OUTPUT: "net.pth birds -o taken.index",
    },
    "search": {
        MODEL: "taken.index birds --model missing.pth",
        DATA: "takn.index birds",
        OUTPUT: "taken.index birds -o taken.csv",
    },
    "bench heads": {NAME: "--head mpn:taylr", SHAPE: "--shape 16x256x7"},
    "bench convs": {
        MODEL: "--step resnet5",
        NAME: "--conv tanh:sigmod",
        SHAPE: "--shape 16x64x56x56:3",
    },
    "bench step": {MODEL: "--network resnet5", NAME: "--opt sgdd", SHAPE: "--shape 8x3x224"},
    "bench retrieval": {SHAPE: "--shape 3368x19281"},
    "bench data": {DATA: "--data brds"},
}
"""Arguments by command and by what is wrong with them; all else of them is right."""

CASES = [(command, kind) for command, kinds in WRONG.items() for kind in kinds]

KINDS_OF_PARAMETERS = {
    **dict.fromkeys(("model", "models", "source", "sources", "sides", "step", "network"), MODEL),
    **dict.fromkeys(("data", "images", "queries", "calibrate"), DATA),
    "overwrite": OUTPUT,
    **dict.fromkeys(("head", "opt"), NAME),
    "shape": SHAPE,
}
ELSEWHERE = {
    ("demo", OUTPUT): "its folder is its own",
    ("plot", OUTPUT): "a figure needs no torch",
    ("report", OUTPUT): "a page's folder is made from the run's own name",
    ("push", OUTPUT): "what a repository holds is known where it is",
}
"""Why a command has no case of a kind that its parameters suggest."""

PROGRAM = """
import contextlib, io, json, sys

class Refusal:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "timm", "torchvision"):
            asked.append(name)
            raise ImportError(name)

sys.meta_path.insert(0, Refusal())
from covtool_cli.main import run

for arguments in json.loads(sys.argv[1]):
    asked, err = [], io.StringIO()
    try:
        with contextlib.redirect_stderr(err):
            run(arguments)
    except SystemExit as end:
        print(json.dumps([end.code, asked, err.getvalue()]))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model, two classes of images, and outputs that are there."""
    folder = tmp_path_factory.mktemp("place")
    torch.save(nn.Linear(2, 2).state_dict(), folder / "net.pth")
    for name in ("owl", "wren"):
        (folder / "birds" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / "birds" / name / "1.png")
    taken = ("csv", "npz", "md", "onnx", "safetensors", "index")
    for name in (*(f"taken.{suffix}" for suffix in taken), "net-isqrt.safetensors"):
        (folder / name).write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def answers(place):
    """By command and kind: exit code, modules that were asked for, and stderr."""
    commands = [[*command.split(), *WRONG[command][kind].split()] for command, kind in CASES]
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(commands)],
        cwd=place,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before
    return dict(zip(CASES, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_wrong_path_or_name_is_answered_without_torch(case, answers) -> None:
    code, asked, err = answers[case]
    assert asked == [], err
    assert code == CODES[case[1]], err
    assert err.startswith("error: ")


@pytest.mark.parametrize(
    "name", [*(n for n in COMMANDS if n != "bench"), *(f"bench {n}" for n in BENCHMARKS)]
)
def test_every_command_has_a_case_of_each_kind_that_its_parameters_suggest(name: str) -> None:
    *group, own = name.split()
    command = load_command(".".join(["covtool_cli.commands", *group]), own)
    parameters = {parameter.name for parameter in command.params}
    suggested = {kind for known, kind in KINDS_OF_PARAMETERS.items() if known in parameters}
    missing = suggested - WRONG.get(name, {}).keys()
    assert missing == {kind for command, kind in ELSEWHERE if command == name}


def words_of(call) -> tuple:
    """Return class, message, reason and hint of the error that a function raises."""
    with pytest.raises(CovtoolError) as caught:
        call()
    problem = caught.value
    return type(problem), problem.message, problem.reason, problem.hint


@pytest.mark.parametrize(
    "name",
    [
        *("missing.pth", "no/missing.pth", "no/missing", "ne.pth", "net.pht", "birds", "net/x"),
        *("resnet5", "resnet50.nope", "torchvision:resnet5", "zzzz", "vit_base_patch16_22"),
        *("x" * 300, "a\0b", "run", "run@epoch-3", "runs"),
    ],
)
def test_wrong_models_are_refused_in_the_words_of_open_model(name, place, monkeypatch) -> None:
    monkeypatch.chdir(place)
    (place / "run" / "exported").mkdir(parents=True, exist_ok=True)
    (place / "runs").mkdir(exist_ok=True)
    (place / "runs" / "repeats.yaml").write_text("")
    assert words_of(lambda: require_model(name)) == words_of(lambda: covtool.open_model(name))


@pytest.mark.parametrize("name", ["net.pth", "resnet50", "tf_efficientnet_b0_ns", "hf-hub:me/x"])
def test_models_that_there_may_be_pass(name, place, monkeypatch) -> None:
    monkeypatch.chdir(place)
    require_model(name)


@pytest.mark.parametrize("root", ["brds", "wds/brds", "x" * 300])
def test_wrong_data_sets_are_refused_in_the_words_of_the_readers(root, place, monkeypatch) -> None:
    monkeypatch.chdir(place)
    words = words_of(lambda: require_data_set(root))
    assert words == words_of(lambda: scan(Path(root)))
    assert words == words_of(lambda: survey(Path(root)))


@pytest.mark.parametrize("argument", ["brds", "no/photo.jpg", "wds/brds", "x" * 300])
def test_wrong_images_are_refused_in_the_words_of_the_readers(argument, place, monkeypatch) -> None:
    monkeypatch.chdir(place)
    words = words_of(lambda: require_images(argument))
    assert words == words_of(lambda: find_inputs([argument]))
    if not argument.startswith("wds/"):
        assert words == words_of(lambda: find_images(Path(argument)))


@pytest.mark.parametrize("argument", ["-", "birds", "birds/**/*.png", "none*.jpg", "hfds/me/x"])
def test_images_that_there_may_be_pass(argument, place, monkeypatch) -> None:
    monkeypatch.chdir(place)
    require_images(argument)


def test_missing_index_is_refused_in_the_words_of_the_reader(place, monkeypatch) -> None:
    monkeypatch.chdir(place)
    path = Path("takn.index")
    words = words_of(lambda: require_index(path))
    assert "taken.index" in words[2]
    assert words == words_of(lambda: read_record(path))


@pytest.mark.parametrize(
    "table",
    [HEADS, GRADIENTS, CONVOLUTIONS, ANGULAR_ACTIVATIONS],
    ids=lambda table: table.kind,
)
def test_wrong_variants_are_refused_in_the_words_of_their_tables(table) -> None:
    assert KINDS[table.kind] == table.names
    words = words_of(lambda: require_variant(table.kind, "isqr"))
    assert words == words_of(lambda: table["isqr"])
    for name in table.names:
        require_variant(table.kind, name)


def test_wrong_optimizer_is_refused_in_the_words_of_training() -> None:
    words = words_of(lambda: first_checks.require_optimizer("lookahead_sgdd"))
    training = TrainingSpec(opt="lookahead_sgdd")
    assert words == words_of(lambda: build_optimizer([], training))
    first_checks.require_optimizer("lookahead_adamw")
    with pytest.raises(UnknownVariantError):
        require_optimizer("sgd", ("adam",))


def test_of_sides_that_may_be_runs_only_missing_ones_are_judged(place, monkeypatch) -> None:
    monkeypatch.chdir(place)
    first_checks.require_some_models("birds", "net.pth", "resnet18")
    with pytest.raises(CovtoolError, match=r"missing\.pth does not exist"):
        first_checks.require_some_models("net.pth", "missing.pth")
