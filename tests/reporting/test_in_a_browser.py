"""The pages in headless Chromium: what it says of them, what it asks for, what a reader sees."""

import json
import math
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from evaluated_toys import evaluated_toy
from searched_markets import searched_market
from svdnet_training import svdnet_request, write_data, write_eigen_model
from toy_data import write_toy_data
from training_runs import make_request

from covtool.auditing import AuditRequest, look_through
from covtool.evaluation.evaluate import evaluate
from covtool.reporting.against import compare_subjects
from covtool.reporting.data_page import write_data_page
from covtool.reporting.evaluation_page import write_evaluation
from covtool.reporting.retrieval_against import compare_searches
from covtool.reporting.retrieval_page import write_retrieval
from covtool.reporting.retrieval_subject import RetrievalSubject
from covtool.reporting.run_evaluation import evaluated_run
from covtool.reporting.run_page import report_runs
from covtool.reporting.subjects import Subject
from covtool.specs import AttackSpec
from covtool.training import finetune

pytestmark = pytest.mark.slow

PACKAGES = ("@sparticuz/chromium@147", "puppeteer-core@24")
"""A Chromium that needs nothing from the system, and what drives it."""

KINDS = ("evaluation", "retrieval", "run", "runs", "half-steps", "data")
PARTS = {
    "evaluation": [
        *("confusion", "classes", "mistakes", "right", "scores", "attack", "unknown", "against"),
    ],
    "retrieval": ["found", "queries", "identities", "cameras", "against"],
    "run": ["curves", "images", "groups", "settings", "evaluation", "confusion", "mistakes"],
    "runs": ["curves", "figures", "settings", "same-settings"],
    "half-steps": ["curves", "half-steps", "images", "groups", "settings", "evaluation"],
    "data": ["findings", "classes", "files"],
}
"""Sections that a page of each kind has."""
MINUTES = 10


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the browser, and with the script that drives it."""
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("The pages are not opened in a browser: npm and node are not installed.")
    folder = tmp_path_factory.mktemp("browser")
    quiet = ("--no-audit", "--no-fund", "--no-save", "--prefix", str(folder))
    done = subprocess.run(
        [shutil.which("npm"), "install", *quiet, *PACKAGES],
        capture_output=True,
        text=True,
        timeout=60 * MINUTES,
    )
    if done.returncode != 0:
        pytest.skip(
            f"The pages are not opened in a browser: npm installs none. {done.stderr[:300]}"
        )
    # Beside its packages: modules are looked for from where a script lies.
    shutil.copy(Path(__file__).with_name("browse.mjs"), folder)
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind, of toys."""
    root = tmp_path_factory.mktemp("pages")
    toy = evaluated_toy(root, head="isqrt")
    others = write_toy_data(root / "others", train=2, val=2)
    for color in sorted(others.glob("*/*")):
        color.rename(color.with_name(f"not-{color.name}"))
    attacked = replace(toy, attack=AttackSpec(attack="fgsm", eps="8/255"), unknown=others)
    subject = Subject(
        done=evaluate(attacked), model="net.safetensors", command="covtool evaluate net"
    )
    other = Subject(done=evaluate(evaluated_toy(root, seed=1)), model="other.safetensors")
    found = RetrievalSubject(
        done=searched_market(root), model="net", command="covtool evaluate net"
    )
    result = found.done.result
    backwards = [None if p is None else 100 - p for p in result.average_precisions]
    another = replace(result, average_precisions=tuple(backwards))
    runs = [finetune(make_request(toy.data, root / "runs", seed=n)).directory for n in (1, 2)]
    phased_root = tmp_path_factory.mktemp("phased")
    people, eigen = write_data(phased_root / "people"), write_eigen_model(phased_root)
    phased = finetune(svdnet_request(eigen, people, phased_root / "runs")).directory
    copied = write_toy_data(root / "copied", train=6, val=3)
    shutil.copy(copied / "train/red/0.png", copied / "val/red/copy.png")
    audited = look_through(AuditRequest(data=copied))
    return {
        "evaluation": write_evaluation(
            subject, root / "evaluation", compare_subjects(subject, other)
        ),
        "retrieval": write_retrieval(
            found,
            root / "retrieval",
            compare_searches(
                found, RetrievalSubject(done=replace(found.done, result=another), model="other")
            ),
        ),
        "run": report_runs([runs[0]], root / "run", evaluator=evaluated_here).path,
        "runs": report_runs(runs, root / "two").path,
        "half-steps": report_runs([phased], root / "half-steps").path,
        "data": write_data_page(audited, root / "data"),
    }


def evaluated_here(run: Path) -> Subject:
    return evaluated_run(run, device="cpu", batch_size=4, workers=0)


@pytest.fixture(scope="module")
def opened(
    browser: Path, written: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict]:
    """What each page holds, on the screen and on paper; the screenshots are temporary."""
    screenshots = tmp_path_factory.mktemp("screenshots")
    pages = [{"name": name, "url": path.as_uri()} for name, path in written.items()]
    done = subprocess.run(
        [shutil.which("node"), "browse.mjs", json.dumps(pages), str(screenshots)],
        cwd=browser,
        env={**os.environ, "TMPDIR": str(browser)},
        capture_output=True,
        text=True,
        timeout=60 * MINUTES,
    )
    assert done.returncode == 0, done.stderr
    assert len(list(screenshots.glob("*.png"))) == 5 * len(pages)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def seen(opened: dict[str, dict]) -> dict[str, list[dict]]:
    """What each view of each page on the screen holds."""
    return {name: found["views"] for name, found in opened.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_wrong_and_nothing_is_asked_for(seen: dict, kind: str) -> None:
    for view in seen[kind]:
        assert view["said"] == []
        assert view["outside"] == []


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_missing_and_every_link_leads_somewhere(
    seen: dict, written: dict, kind: str
) -> None:
    for view in seen[kind]:
        assert view["missing"] == []
        assert view["images"] >= (0 if kind == "runs" else 2)
        assert view["drawings"] >= 1
        assert view["empty"] == 0
        assert view["lost"] == []
        files = [link for link in view["links"] if not link.startswith("#")]
        assert len(files) >= 2
        assert [link for link in files if not (written[kind].parent / link).is_file()] == []
        assert [part for part in view["sections"] if len(part["text"].splitlines()) < 2] == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_fits_its_window_and_is_readable_by_day_and_by_night(seen: dict, kind: str) -> None:
    assert {(view["width"], view["scheme"]) for view in seen[kind]} == {
        (width, scheme) for width in (1280, 420) for scheme in ("light", "dark")
    }
    for view in seen[kind]:
        assert view["overflow"] == 0
        assert view["faint"] == []
        assert view["ground"] > 0.9 if view["scheme"] == "light" else view["ground"] < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_no_words_cover_others_or_are_cut(opened: dict, kind: str) -> None:
    for view in (*opened[kind]["views"], opened[kind]["print"]):
        assert view["crossing"] == []
        assert view["cut"] == []
        assert view["spilled"] == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_has_its_sections(seen: dict, kind: str) -> None:
    for view in seen[kind]:
        assert set(PARTS[kind]) <= {section["name"] for section in view["sections"]}


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_printed_dark_on_light_and_whole(opened: dict, kind: str) -> None:
    paper, screen = opened[kind]["print"], opened[kind]["views"][0]
    assert paper["ground"] > 0.9
    assert paper["faint"] == []
    assert paper["overflow"] == 0
    for part in ("images", "drawings", "missing", "empty"):
        assert paper[part] == screen[part]
    shown = [
        {section["name"]: section["text"] for section in v["sections"]} for v in (paper, screen)
    ]
    assert shown[0].keys() == shown[1].keys()


@pytest.mark.parametrize("kind", KINDS)
def test_tables_are_sorted_by_the_heading_that_is_pressed(seen: dict, kind: str) -> None:
    pressed = [one for view in seen[kind] for one in view.get("sorted", [])]
    assert len(pressed) >= 8
    for first, second in zip(pressed[::2], pressed[1::2], strict=True):
        assert sorted(first["values"]) == sorted(second["values"])
        assert {first["order"], second["order"]} == {"ascending", "descending"}
        for one in (first, second):
            held = [value for value in one["values"] if value]
            assert one["values"][: len(held)] == held  # empty cells are last
            if one["isNumber"]:
                numbers = [float(value) for value in held]
                assert not any(map(math.isnan, numbers))
                assert numbers == sorted(numbers, reverse=one["order"] == "descending")
            elif all(value.isascii() and value.isalpha() and value.islower() for value in held):
                assert held == sorted(held, reverse=one["order"] == "descending")


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_reads_the_same_without_scripts(seen: dict, kind: str) -> None:
    *with_scripts, without = seen[kind]
    (same,) = [v for v in with_scripts if (v["width"], v["scheme"]) == (1280, "light")]
    assert not without["scripts"]
    assert without["buttons"] == 0
    assert without["text"] == same["text"]
    assert without["images"] == same["images"]
