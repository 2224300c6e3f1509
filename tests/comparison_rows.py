"""Made-up rows of a comparison, as many as are asked for."""

import random
from collections.abc import Sequence
from typing import Any

from covtool.comparing.records import TOP_1, ComparedRow, Comparison, Durations
from covtool.specs import HeadSpec

TAPS = ("bn2", "blocks.6.0.conv_pwl", "blocks.5.3", "blocks.4.2.conv_pwl")
HEADS = ("gap", "isqrt", "mpn", "gaussian")


def compared_row(label: str, figure: float, **choices: Any) -> ComparedRow:
    """A row within the noise of the best, with an interval of 3 points to either side."""
    values: dict[str, Any] = {
        "checkpoint": "lite0.pth",
        "img_size": (224, 224),
        "taps": ("bn2",),
        "head": HeadSpec(head="gap"),
        "interval": (figure - 3, figure + 3),
        "difference": 0.0,
        "difference_interval": (-1.0, 1.0),
        "left_out_loss": 1.5,
        "features": 1280,
        "parameters": 4_000_000,
        "gflops": 0.4,
        "ms_per_image": 20.0,
        "memory_mib": 30.0,
        "near_best": True,
        "on_front": False,
        "recommended": False,
        "command": (),
    }
    return ComparedRow(label=label, figure=figure, **{**values, **choices})


def compared_rows(
    heads: Sequence[str] = HEADS,
    taps: Sequence[str] = TAPS,
    checkpoints: Sequence[str] = ("lite0.pth",),
    sizes: Sequence[int] = (224,),
) -> tuple[ComparedRow, ...]:
    """Rows with random figures, best first, costs of which many are equal; the third is chosen."""
    draw = random.Random(0)
    rows = []
    for place, checkpoint in enumerate(checkpoints):
        for size in sizes:
            gflops = 0.4 * (1 + place) * (size / 224) ** 2
            for tap in taps:
                for head in heads:
                    rows.append(
                        compared_row(
                            f"{head} at {tap}, {checkpoint}, {size} px",
                            draw.gauss(60, 6),
                            checkpoint=checkpoint,
                            img_size=(size, size),
                            taps=(tap,),
                            head=HeadSpec(head=head),
                            gflops=gflops,
                            ms_per_image=45 * gflops + draw.random(),
                        )
                    )
    rows.sort(key=lambda row: -row.figure)
    return tuple(
        compared_row(
            row.label,
            row.figure,
            checkpoint=row.checkpoint,
            img_size=row.img_size,
            taps=row.taps,
            head=row.head,
            gflops=row.gflops,
            ms_per_image=row.ms_per_image,
            near_best=place < 4,
            recommended=place == 2,
        )
        for place, row in enumerate(rows)
    )


def comparison_of(rows: Sequence[ComparedRow], metric: str = TOP_1) -> Comparison:
    return Comparison(
        rows=tuple(rows),
        left_out=(),
        data="cars",
        images=800,
        classes=30,
        metric=metric,
        notes=(),
        unreadable=(),
        seconds=Durations(passes=1, heads=1, speed=1, intervals=1),
    )
