"""How well `covtool compare` orders heads: its estimate against the test images, nothing trained.

    python benchmarks/comparing.py MODEL... --data cars30 --data dtd10 [--head isqrt] [--tap auto]

For each data set every row of the comparison is measured on the test images as well: the rank
correlation (Spearman) of the estimate with test accuracy over all rows, and the regret of the
recommended row, which is the test accuracy of the best row minus its own. Test images choose
nothing. A data set's rows are written when they are there, to `--rows`, and are not measured again.
With them are the answers for each image, and the left-out loss, by which rows could be ordered as
well.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import torch
from scipy.stats import spearmanr

from covtool.comparing.candidates import Subject
from covtool.comparing.choosing import judge
from covtool.comparing.comparing import images_of
from covtool.comparing.head_on_maps import LABELS, HeadOnMaps
from covtool.comparing.map_store import MapStore
from covtool.comparing.measuring import Fitting, Measuring, Stopwatch
from covtool.comparing.passes import keep_maps, kept_maps, map_names
from covtool.comparing.preparing import PreparedComparison, prepare_comparison
from covtool.comparing.request import CompareRequest
from covtool.ops.resampling import difference_intervals
from covtool.progress import silent
from covtool.specs import ModelSource
from covtool.specs.comparing import CompareSpec
from covtool.surgery.report import measure_size

SQUASH = {"crop_mode": "squash", "crop_pct": 1.0}
SEVERAL_GB = 2**20  # ru_maxrss is in KiB


def rows_of(prepared: PreparedComparison, subject: Subject, watch: Stopwatch) -> list[dict]:
    """Measure each head of a network by left-out training images and by test images."""
    kept = kept_maps(subject.candidates)
    stores = {}
    for split, samples in {
        "train": prepared.samples,
        "test": prepared.layout.evaluation_samples()[0],
    }.items():
        store = MapStore(-(-len(samples) // prepared.request.batch_size))
        images = images_of(prepared, subject, samples)
        with watch.of(f"passes {split}"):
            keep_maps(subject, kept, store, images, device=prepared.device, track=silent)
        stores[split] = store
    how = Measuring(
        images=len(prepared.samples),
        memory_gib=2.0,
        device=prepared.device,
        track=silent,
        watch=watch,
    )
    rows = []
    for fit in Fitting(subject, stores["train"], how).every(subject.candidates):
        plan = fit.candidate.plan
        head = HeadOnMaps(fit.converted, plan, stores["test"], map_names(plan))
        with torch.inference_mode():
            right = [
                head(torch.tensor(i)).argmax(1) == labels
                for i, labels in enumerate(stores["test"].every(LABELS))
            ]
        rows.append(
            {
                "label": fit.candidate.label,
                "left_out": fit.figure,
                "right": fit.values.int().tolist(),
                "left_out_loss": fit.left_out_loss,
                "test": 100 * torch.cat(right).double().mean().item(),
                "test_right": torch.cat(right).int().tolist(),
                "gflops": measure_size(fit.converted, subject.opened.recipe.input).flops / 1e9,
                "features": plan.in_features,
            }
        )
        print(rows[-1]["label"], rows[-1]["left_out"], rows[-1]["test"], flush=True)
    return rows


def measure(models: list[str], data: Path, spec: CompareSpec) -> dict:
    """Compare on one data set."""
    start = time.perf_counter()
    request = CompareRequest(
        sources=tuple(ModelSource(name=model, input=SQUASH) for model in models),
        data=data,
        spec=spec,
        workers=1,
    )
    prepared, watch = prepare_comparison(request), Stopwatch()
    rows = [row for subject in prepared.subjects for row in rows_of(prepared, subject, watch)]
    own, children = (
        resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {
        "rows": rows,
        "images": len(prepared.samples),
        "seconds": {**watch.seconds, "all": time.perf_counter() - start},
        "processor_seconds": own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime,
        "memory_gib": own.ru_maxrss / SEVERAL_GB,
    }


def summary(found: dict) -> dict:
    """Return correlation and regret of a data set's rows."""
    rows = found["rows"]
    left_out, test = ([row[key] for row in rows] for key in ("left_out", "test"))
    judged = judge(
        torch.tensor([row["right"] for row in rows]),
        [(row["gflops"], row["features"], 0.0) for row in rows],
    )
    chosen = next(i for i, one in enumerate(judged) if one.recommended)
    first = max(range(len(rows)), key=lambda i: left_out[i])
    likeliest = min(range(len(rows)), key=lambda i: rows[i]["left_out_loss"])
    near = [i for i, one in enumerate(judged) if one.near_best]
    cheapest = min(near, key=lambda i: (rows[i]["gflops"], rows[i]["features"]))
    return {
        "rank_correlation": spearmanr(left_out, test).statistic,
        "recommended": rows[chosen]["label"],
        "regret": max(test) - test[chosen],
        "regret_range": regret_range(rows, chosen),
        "rank_correlation_of_loss": -spearmanr([r["left_out_loss"] for r in rows], test).statistic,
        "likeliest": rows[likeliest]["label"],
        "regret_of_likeliest": max(test) - test[likeliest],
        "best_estimate": rows[first]["label"],
        "regret_of_best_estimate": max(test) - test[first],
        "near": len(near),
        "cheapest": rows[cheapest]["label"],
        "regret_of_cheapest": max(test) - test[cheapest],
    }


def regret_range(rows: list[dict], chosen: int) -> tuple[float, float]:
    """Return the range of 95 % of a row's regret, test images resampled.

    It is of the row that is best on these images, chosen for that: even of equal rows one is.
    """
    right = torch.tensor([row["test_right"] for row in rows]).double()
    best = max(range(len(rows)), key=lambda i: rows[i]["test"])
    found = difference_intervals(right[best], right[chosen])
    return 100 * found.low.item(), 100 * found.high.item()


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", action="append", type=Path, required=True)
    parser.add_argument("--head", action="append")
    parser.add_argument("--tap", action="append")
    parser.add_argument("--rows", type=Path, default=Path("comparing.json"))
    arguments = parser.parse_args()
    chosen = {
        key: tuple(getattr(arguments, key)) for key in ("head", "tap") if getattr(arguments, key)
    }
    spec = CompareSpec(**chosen)
    done = json.loads(arguments.rows.read_text()) if arguments.rows.exists() else {}
    for data in arguments.data:
        key = " ".join([data.name, *arguments.models, *spec.head, *spec.tap])
        if key not in done:
            done[key] = measure(arguments.models, data, spec)
            arguments.rows.write_text(json.dumps(done))
        print_table(data.name, done[key])


def print_table(name: str, found: dict) -> None:
    """Print a data set's rows and what they say, in Markdown."""
    print(f"\n### {name}, {found['images']} training images\n")
    print("| head | features | GFLOPs | left-out | loss | test |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for row in sorted(found["rows"], key=lambda row: -row["left_out"]):
        print(
            f"| `{row['label']}` | {row['features']:,} | {row['gflops']:.2f} "
            f"| {row['left_out']:.1f} % | {row['left_out_loss']:.3f} | {row['test']:.1f} % |"
        )
    told = {
        key: f"{value:.1f}" if key.startswith("regret") and isinstance(value, float) else value
        for key, value in summary(found).items()
    }
    low, high = told["regret_range"]
    print(
        f"\nRank correlation {told['rank_correlation']:.2f}, by the left-out loss "
        f"{told['rank_correlation_of_loss']:.2f}. Recommended: "
        f"`{told['recommended']}`, regret {told['regret']} points ({low:.1f} to {high:.1f}). "
        f"Smallest left-out loss: `{told['likeliest']}`, regret {told['regret_of_likeliest']}. "
        f"Best estimate: `{told['best_estimate']}`, regret {told['regret_of_best_estimate']}. "
        f"Cheapest of {told['near']} within the noise of the best: `{told['cheapest']}`, "
        f"regret {told['regret_of_cheapest']}."
    )


if __name__ == "__main__":
    main()
