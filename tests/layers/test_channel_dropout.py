"""Adaptive channel dropout."""

import torch
from tolerances import EXACT
from torch import Tensor
from torch.testing import assert_close

from covtool.layers.channel_dropout import AdaptiveChannelDropout
from covtool.layers.covariance_pooling import CovariancePooling, DropCovPooling
from covtool.ops.covariance import covariance_pool


def layer() -> AdaptiveChannelDropout:
    torch.manual_seed(0)
    return AdaptiveChannelDropout()


def maps(channels: int = 64) -> Tensor:
    return torch.rand(4, channels, 5, 5, generator=torch.Generator().manual_seed(1))


def test_does_nothing_in_eval_mode() -> None:
    features = maps()
    assert layer().eval()(features) is features


def test_whole_channels_are_dropped_in_training_and_the_rest_scaled() -> None:
    dropout, features = layer().train(), maps()
    dropped = dropout(features)
    gone = (dropped == 0).all(dim=(2, 3))
    assert ((dropped == 0).any(dim=(2, 3)) == gone).all()
    weights = dropout.conv(features.mean(dim=(2, 3))[:, None]).squeeze(1).softmax(dim=1)
    weighed = features * (1 + weights[..., None, None])
    rate = dropout.rate(weighed, weights)
    assert 0 < rate < 1
    assert_close(dropped[~gone], weighed[~gone] / (1 - rate))


def test_rate_is_small_where_weights_go_along_with_correlations() -> None:
    weighed = maps()
    correlations = covariance_pool(weighed).sum(dim=2)
    along = layer().rate(weighed, correlations)
    against = layer().rate(weighed, -correlations)
    assert along == 0
    assert against == 1


def test_rate_of_one_passes_the_batch_on_whole() -> None:
    dropout = layer().train()
    dropout.rate = lambda weighed, weights: torch.ones(())
    assert dropout(maps()).isfinite().all()
    assert (dropout(maps()) != 0).any()


def test_follows_the_random_state_of_torch() -> None:
    dropout, features = layer().train(), maps()
    outcomes = []
    for _ in range(2):
        torch.manual_seed(5)
        outcomes.append(dropout(features))
    assert_close(*outcomes, **EXACT)


def test_pooling_is_the_plain_covariance_after_training() -> None:
    features = maps(8)
    dropcov = DropCovPooling(8, reduction="none").eval()
    plain = CovariancePooling(8, reduction="none", matrix=covariance_pool)
    assert_close(dropcov(features), plain(features), **EXACT)
    assert not torch.equal(dropcov.train()(features), plain(features))
