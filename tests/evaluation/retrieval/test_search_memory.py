"""A search allocates no more than it says, and no more than it is allowed."""

import gc

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from covtool.evaluation import FeatureSet, evaluate_retrieval
from covtool.evaluation.retrieval.memory_plan import UNSEEN
from covtool.specs import RetrievalSpec

NUM_FEATURES = 32
MB = 10**6


def described(count, *, ties):
    generator = torch.Generator().manual_seed(count)
    features = torch.randn(count, NUM_FEATURES, generator=generator)
    if ties:
        features = features.sign()
        features[:, 5:] = 1  # 32 different images
    return FeatureSet(
        features=features, identities=torch.randint(count // 20, (count,), generator=generator)
    )


def allocated(search):
    """What it returns, and the peak of what it allocates by torch's own record, in bytes.

    No garbage is collected meanwhile: a finalizer of an earlier test's would run inside of the
    search, and an exception that it keeps holds the frames below, with all their tensors.
    """
    gc.collect()
    gc.disable()
    try:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            result = search()
    finally:
        gc.enable()
    used = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            used += event.nbytes()
            peak = max(peak, used)
    return result, peak


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize(
    ("rerank", "allowed"), [(False, 164), (False, 74), (True, 564), (True, 184)]
)
def test_memory_is_kept(rerank, allowed, metric, ties):
    spec = RetrievalSpec(rerank=rerank, metric=metric, max_memory=f"{allowed}MB")
    query, gallery = described(400, ties=ties), described(3000, ties=ties)
    result, peak = allocated(lambda: evaluate_retrieval(query, gallery, spec, keep=10))
    assert MB < peak <= result.planned_bytes - UNSEEN
    assert result.planned_bytes <= allowed * MB
