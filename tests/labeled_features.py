"""Random images as a search sees them, and figures of a search by name."""

import torch

from covtool.evaluation.features.feature_set import JUNK_LABEL, FeatureSet

NUM_FEATURES = 8


def images(seed, count, *, kind, cameras, identities=5):
    """Random images; junk, distractors and an identity with one camera are among them.

    `kind` is ``distinct``, ``clusters`` (by identity), ``ties`` (exact in float32, normalized or
    not), or ``equal`` (exact as well).
    """
    generator = torch.Generator().manual_seed(seed)

    def integers(low, high, *shape):
        return torch.randint(low, high, shape, generator=generator)

    own = integers(JUNK_LABEL, identities, count)
    taken_by = integers(0, 3, count) * (own != 2)
    features = torch.randn(count, NUM_FEATURES, generator=generator)
    if kind == "clusters":
        centers = torch.randn(
            identities + 1, NUM_FEATURES, generator=torch.Generator().manual_seed(99)
        )
        features = 0.7 * features + centers[own]
    if kind == "ties":  # four of eight values are 1 or -1
        places = torch.rand(count, NUM_FEATURES, generator=generator).argsort(1)[:, :4]
        signs = 2.0 * integers(0, 2, count, 4) - 1
        features = torch.zeros(count, NUM_FEATURES).scatter_(1, places, signs)
    if kind == "equal":
        features = torch.tensor([1.0, 0.0]).repeat(NUM_FEATURES // 2).expand(count, -1)
    return FeatureSet(features=features, identities=own, cameras=taken_by if cameras else None)


def figures_of(result):
    return {
        "queries": result.queries,
        **{f"rank-{k}": share for k, share in result.cmc.items()},
        "mAP": result.mean_average_precision,
        "mINP": result.mean_inverse_penalty,
        "R-precision": result.r_precision,
        "mAP@R": result.map_at_r,
    }
