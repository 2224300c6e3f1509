"""`covtool plot`, as a user calls it."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from covtool_cli.main import run

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Done:
    code: int
    stdout: str
    stderr: str


@pytest.fixture
def covtool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Runs a command line in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Done:
        with pytest.raises(SystemExit) as ended:
            run([str(argument) for argument in arguments])
        return Done(ended.value.code, *capsys.readouterr())

    return call


def test_operator_is_drawn_into_the_folder_one_is_in(covtool, tmp_path: Path) -> None:
    done = covtool("plot", "operator")
    assert done.code == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["operators.png"]
    with Image.open(tmp_path / "operators.png") as image:
        assert image.width > 1000
        assert image.height > 500
    assert "operators.png" in done.stdout
    assert "segmented, β = 0.5" in done.stdout
    assert done.stderr == ""


def test_json_says_what_was_drawn(covtool, tmp_path: Path) -> None:
    done = covtool(
        *("plot", "operator", "--panel", "h", "--magnitude", "mixed", "--magnitude", "ball"),
        *("--radius", 2, "--beta", 0.1, "-o", "h.svg", "--json"),
    )
    assert json.loads(done.stdout) == {
        "path": "h.svg",
        "magnitudes": ["mixed, β = 0.1", "ball"],
        "angular": [],
        "radius": 2.0,
    }
    assert ">mixed, β = 0.1</text>" in (tmp_path / "h.svg").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--magnitude", "spere"], "Did you mean 'sphere'"),
        (["--angular", "cosin"], "Did you mean 'cosine'"),
        (["-o", "there.png"], "there.png already exists"),
        (["-o", "a.gif"], "one of .png, .svg, .pdf"),
        (["-o", "none/a.png"], "no folder none"),
        (["--radius", "0"], "--radius 0"),
        (["--radius", "inf"], "--radius inf"),
        (["--panel", "f"], "--panel"),
        (["--panel", "g", "--magnitude", "ball"], "--magnitude has no part"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_usage_errors_and_write_nothing(
    covtool, options: list[str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "there.png").write_text("mine")
    done = covtool("plot", "operator", *options)
    assert done.code == 2
    assert message in " ".join(done.stderr.split())
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_overwrite_replaces_the_picture(covtool, tmp_path: Path) -> None:
    (tmp_path / "there.png").write_text("mine")
    done = covtool("plot", "operator", "-o", "there.png", "--overwrite")
    assert done.code == 0, done.stderr
    with Image.open(tmp_path / "there.png") as image:
        assert image.format == "PNG"


def test_help_imports_neither_torch_nor_matplotlib() -> None:
    program = (
        "import sys\nfrom covtool_cli.main import run\n"
        "try:\n    run(['plot', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'matplotlib', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("panel", "name"), [("h", "magnitudes"), ("g", "angular")])
def test_pictures_of_the_documentation_show_what_is_drawn_today(
    covtool, panel: str, name: str, tmp_path: Path
) -> None:
    picture = (ROOT / "docs/images" / f"{name}.svg").read_text()
    assert len(picture) < 60_000
    covtool("plot", "operator", "--panel", panel, "-o", "new.svg")
    texts = [line.strip() for line in picture.splitlines() if "</text>" in line]
    new = (tmp_path / "new.svg").read_text()
    assert [_words(t) for t in texts] == [_words(t) for t in new.splitlines() if "</text>" in t]


def _words(element: str) -> str:
    return element.split(">")[1].removesuffix("</text")
