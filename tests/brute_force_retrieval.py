"""A search evaluated as its definitions read, one image after the other, in float64."""

import numpy as np

JUNK = -1
RANKS = (1, 5, 10, 20)


def distance(x, y, metric):
    x, y = x.double().numpy(), y.double().numpy()
    if metric == "euclidean":
        return float(np.square(x - y).sum())
    lengths = np.linalg.norm(x) * np.linalg.norm(y)
    return 1 - float(x @ y) / lengths if lengths else 1.0


def distance_table(query, gallery, metric):
    """Rows for the queries."""
    found_in = query if gallery is None else gallery
    return [[distance(x, y, metric) for y in found_in.features] for x in query.features]


def rankings(query, gallery, table):
    """Of each query, the images of the gallery that are not ignored, nearest first."""
    found_in = query if gallery is None else gallery
    identities, cameras = found_in.identities.tolist(), found_in.cameras
    orders = []
    for place, identity in enumerate(query.identities.tolist()):
        candidates = []
        for image, its_identity in enumerate(identities):
            is_itself = gallery is None and image == place
            same = its_identity == identity
            same_camera = cameras is not None and cameras[image] == query.cameras[place]
            if its_identity != JUNK and not is_itself and not (same and same_camera):
                candidates.append(image)
        orders.append(sorted(candidates, key=lambda image, row=table[place]: (row[image], image)))
    return orders


def evaluate(query, gallery, table):
    """Figures in percent; None if no query has a match."""
    found_in = query if gallery is None else gallery
    figures = []
    for place, order in enumerate(rankings(query, gallery, table)):
        hits = [bool(found_in.identities[image] == query.identities[place]) for image in order]
        if any(hits):
            figures.append(of_one(hits))
    if not figures:
        return None
    means = {name: 100 * sum(f[name] for f in figures) / len(figures) for name in figures[0]}
    return {"queries": len(figures), **means}


def of_one(hits):
    """Figures of one ranking that holds a hit."""
    total = sum(hits)
    precision = [sum(hits[: i + 1]) / (i + 1) for i in range(len(hits))]
    at_hits = [p if hit else 0 for p, hit in zip(precision, hits, strict=True)]
    last = max(i for i, hit in enumerate(hits) if hit)
    return {
        **{f"rank-{k}": any(hits[:k]) for k in RANKS},
        "mAP": sum(at_hits) / total,
        "mINP": total / (last + 1),
        "R-precision": sum(hits[:total]) / total,
        "mAP@R": sum(at_hits[:total]) / total,
    }
