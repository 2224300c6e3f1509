"""Centralized optimizers against the papers' algorithms, and on every engine."""

import numpy as np
import pytest
import torch
from covering import pairs
from process_group import run_together
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from covtool.training import centralize_gradients

MODES = ["gradient", "update"]
ENGINES = ["for-loop", "foreach", "fused"]
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-6}
SHAPES = {"convolution": (4, 3, 3, 3), "depthwise": (6, 1, 3, 3), "matrix": (5, 7)}


def centralized(rows):
    """Each filter minus its mean."""
    return rows - rows.reshape(len(rows), -1).mean(1).reshape(-1, *[1] * (rows.ndim - 1))


def itself(rows):
    return rows


PLACES = {"gradient": (centralized, itself), "update": (itself, centralized)}


def paper_sgd(w, gradients, on, *, lr, momentum, weight_decay, nesterov=False):
    """Algorithm 1, decay coupled; on the update as the authors' later SGD."""
    first, last = PLACES[on]
    m = np.zeros_like(w)
    for gradient in gradients:
        g = first(gradient + weight_decay * w)
        m = momentum * m + g
        w = w - lr * last(g + momentum * m if nesterov else m)
    return w


def paper_adam(w, gradients, on, *, lr, betas, eps, weight_decay, decoupled):
    """Algorithm 2, decay coupled (Adam) or decoupled (AdamW, Loshchilov and Hutter)."""
    first, last = PLACES[on]
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, gradient in enumerate(gradients, start=1):
        g = first(gradient if decoupled else gradient + weight_decay * w)
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        step = m / (1 - betas[0] ** t) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
        w = w - last(lr * step + (lr * weight_decay * w if decoupled else 0))
    return w


SGD = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}
ADAM = {"lr": 0.02, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1}
PAPERS = {
    "sgd": (torch.optim.SGD, SGD, paper_sgd, {}),
    "sgd without momentum": (torch.optim.SGD, SGD | {"momentum": 0.0}, paper_sgd, {}),
    "sgd without decay": (torch.optim.SGD, SGD | {"weight_decay": 0.0}, paper_sgd, {}),
    "nesterov": (torch.optim.SGD, SGD | {"nesterov": True}, paper_sgd, {}),
    "adam": (torch.optim.Adam, ADAM, paper_adam, {"decoupled": False}),
    "adamw": (torch.optim.AdamW, ADAM, paper_adam, {"decoupled": True}),
}


def built(name, parameters, engine="for-loop", **changes):
    kind, settings, _, _ = PAPERS[name]
    how = {"foreach": engine == "foreach", "fused": engine == "fused"}
    return kind(parameters, **(settings | changes), **how)


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def stepped(weight, optimizer, gradients):
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    return weight.detach()


@pairs(name=list(PAPERS), engine=ENGINES, shape=list(SHAPES), on=MODES, dtype=list(TOLERANCES))
def test_every_engine_does_what_the_papers_algorithm_does(name, engine, on, dtype, shape):
    start = random(*SHAPES[shape], seed=1)
    gradients = random(6, *SHAPES[shape], seed=2) + 0.5
    _, settings, algorithm, extra = PAPERS[name]
    expected = algorithm(start.numpy(), gradients.numpy(), on, **settings, **extra)
    weight = nn.Parameter(start.to(dtype))
    optimizer = built(name, [weight], engine)
    centralize_gradients(optimizer, on=on)
    found = stepped(weight, optimizer, gradients.to(dtype))
    tolerance = TOLERANCES[dtype]
    torch.testing.assert_close(
        found.double(), torch.from_numpy(expected), atol=tolerance, rtol=tolerance
    )


class Listening(torch.optim.SGD):
    """Keeps the gradients that it was given."""

    def step(self, closure=None):
        self.heard = [p.grad.clone() for group in self.param_groups for p in group["params"]]
        return super().step(closure)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_the_optimizer_is_given_sums_to_zero_per_filter(shape, in_place):
    weight = nn.Parameter(random(*SHAPES[shape]))
    optimizer = Listening([weight], lr=0.1)
    centralize_gradients(optimizer, in_place=in_place)
    stepped(weight, optimizer, [random(*SHAPES[shape], seed=3) + 1])
    (heard,) = optimizer.heard
    assert heard.flatten(1).sum(1).abs().max() < 1e-13
    assert heard.abs().max() > 0.1


@pytest.mark.parametrize("on", MODES)
@pytest.mark.parametrize("name", PAPERS)
def test_centralizing_twice_is_centralizing_once(name, on):
    once, twice = (nn.Parameter(random(4, 3, 3, 3)) for _ in range(2))
    gradients = random(4, 4, 3, 3, 3, seed=2) + 0.5
    first, second = built(name, [once]), built(name, [twice])
    for optimizer in (first, second, second):
        centralize_gradients(optimizer, on=on)
    own, other = stepped(once, first, gradients), stepped(twice, second, gradients)
    torch.testing.assert_close(own, other, atol=1e-14, rtol=0)


def test_under_plain_sgd_the_mean_of_each_filter_stays():
    weight = nn.Parameter(random(4, 3, 3, 3))
    before = weight.detach().flatten(1).mean(1)
    optimizer = torch.optim.SGD([weight], lr=0.5)
    centralize_gradients(optimizer)
    after = stepped(weight, optimizer, random(20, 4, 3, 3, 3, seed=2) + 1).flatten(1).mean(1)
    torch.testing.assert_close(after, before, atol=1e-14, rtol=0)


@pytest.mark.parametrize("on", MODES)
@pytest.mark.parametrize("name", PAPERS)
def test_in_place_trains_to_the_same_bits(name, on):
    own, other = (nn.Parameter(random(4, 3, 3, 3)) for _ in range(2))
    gradients = random(4, 4, 3, 3, 3, seed=2)
    kept, overwritten = built(name, [own]), built(name, [other])
    centralize_gradients(kept, on=on)
    centralize_gradients(overwritten, on=on, in_place=True)
    assert torch.equal(stepped(own, kept, gradients), stepped(other, overwritten, gradients))


def test_in_place_overwrites_the_gradient():
    weight = nn.Parameter(random(4, 3, 3, 3))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    centralize_gradients(optimizer, in_place=True)
    weight.grad = gradient = random(4, 3, 3, 3, seed=1)
    expected = torch.from_numpy(centralized(gradient.clone().numpy()))
    optimizer.step()
    assert weight.grad is gradient
    torch.testing.assert_close(gradient, expected, atol=1e-15, rtol=0)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("on", MODES)
def test_what_was_removed_and_what_is_left_are_orthogonal(on, in_place):
    weights = [nn.Parameter(random(*shape)) for shape in SHAPES.values()]
    gradients = [random(*shape, seed=4) + 0.3 for shape in SHAPES.values()]
    optimizer = torch.optim.SGD(weights, lr=0.1, weight_decay=0.1)
    handle = centralize_gradients(optimizer, on=on, in_place=in_place)
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient.clone()
    optimizer.step()
    before = sum((g**2).sum() for g in gradients)
    left = sum((centralized(g.numpy()) ** 2).sum() for g in gradients)
    assert handle.removed_norm() > 1
    assert before - handle.removed_norm() ** 2 == pytest.approx(left, rel=1e-12)


@pytest.mark.parametrize("on", MODES)
def test_nothing_is_removed_where_no_weight_has_a_gradient(on):
    optimizer = torch.optim.SGD([nn.Parameter(random(4))], lr=0.1)
    handle = centralize_gradients(optimizer, on=on)
    optimizer.step()
    assert handle.removed_norm() == 0


@pairs(name=list(PAPERS), engine=ENGINES, on=MODES, unscale=[False, True])
def test_a_scaled_loss_trains_as_an_unscaled_one(name, engine, on, unscale):
    own, other = (nn.Parameter(random(4, 3, 3, 3, dtype=torch.float32)) for _ in range(2))
    plain, scaled = built(name, [own]), built(name, [other], engine)
    for optimizer in (plain, scaled):
        centralize_gradients(optimizer, on=on)
    gradients = random(4, 4, 3, 3, 3, seed=2, dtype=torch.float32) + 0.5
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for gradient in gradients:
        scaler.scale((other * gradient).sum()).backward()
        if unscale:
            scaler.unscale_(scaled)
        scaler.step(scaled)
        scaler.update()
        scaled.zero_grad()
    expected = stepped(own, plain, gradients)
    torch.testing.assert_close(other.detach(), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("on", MODES)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_step_that_the_scaler_skips_changes_nothing(engine, on):
    weight = nn.Parameter(random(4, 3, 3, 3, dtype=torch.float32))
    before = weight.detach().clone()
    optimizer = built("adam", [weight], engine)
    centralize_gradients(optimizer, on=on)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(weight.sum() * torch.inf).backward()
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(weight, before)
    assert scaler.get_scale() == 512


@pytest.mark.parametrize("on", MODES)
def test_accumulated_gradients_are_centralized_as_their_sum(on):
    own, other = (nn.Parameter(random(4, 3, 3, 3)) for _ in range(2))
    parts = random(3, 4, 3, 3, 3, seed=2)
    at_once, in_parts = built("adamw", [own]), built("adamw", [other])
    for optimizer in (at_once, in_parts):
        centralize_gradients(optimizer, on=on)
    for part in parts:
        (other * part).sum().backward()
    in_parts.step()
    expected = stepped(own, at_once, [parts.sum(0)])
    torch.testing.assert_close(other.detach(), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("on", MODES)
@pytest.mark.parametrize("set_to_none", [False, True])
def test_a_closure_that_is_called_again_finds_the_callers_gradient(on, set_to_none):
    weight = nn.Parameter(random(2, 5))
    optimizer = torch.optim.LBFGS([weight], lr=0.5, max_iter=4)
    centralize_gradients(optimizer, on=on)
    before, goal, found = weight.detach().clone(), random(2, 5, seed=1) + 1, []

    def closure():
        if found:
            assert torch.equal(weight.grad, found[-1])
        optimizer.zero_grad(set_to_none=set_to_none)
        loss = F.mse_loss(weight, goal)
        loss.backward()
        found.append(weight.grad.clone())
        return loss

    optimizer.step(closure)
    assert len(found) > 1
    assert torch.equal(weight.grad, found[-1])
    moved = (weight.detach() - before).sum(1)
    torch.testing.assert_close(moved, torch.zeros_like(moved), atol=1e-12, rtol=0)


class Decaying(torch.optim.SGD):
    """Something of its own, then its parent's step; may run out of memory before that."""

    fails = False

    def step(self, closure=None):
        if self.fails:
            raise MemoryError
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.mul_(0.9)
        return super().step(closure)


@pytest.mark.parametrize("on", MODES)
@pytest.mark.parametrize("with_closure", [False, True])
def test_a_step_that_calls_its_parents_is_one_step(on, with_closure):
    start, gradient = random(4, 3), random(4, 3, seed=1) + 1
    torch.optim.SGD(
        [nn.Parameter(start.clone())], lr=0.1
    ).step()  # torch hooks a class at its first use
    weight = nn.Parameter(start.clone())
    optimizer = Decaying([weight], lr=0.1)
    centralize_gradients(optimizer, on=on)
    weight.grad = gradient
    optimizer.step((lambda: 0.0) if with_closure else None)
    first, last = PLACES[on]
    update = 0.1 * start.numpy() + 0.1 * first(gradient.numpy())
    expected = torch.from_numpy(start.numpy() - last(update))
    torch.testing.assert_close(weight.detach(), expected, atol=1e-14, rtol=0)
    assert weight.grad is gradient


@pytest.mark.parametrize("on", MODES)
@pytest.mark.parametrize("again", [False, True])
def test_after_a_step_that_failed_the_next_one_is_right(on, again):
    own, other = (nn.Parameter(random(4, 3)) for _ in range(2))
    gradient = random(4, 3, seed=1) + 1
    optimizer, undisturbed = (Decaying([weight], lr=0.1) for weight in (own, other))
    for each in (optimizer, undisturbed):
        centralize_gradients(each, on=on)
    own.grad = gradient if again else random(4, 3, seed=2)
    optimizer.fails = True
    with pytest.raises(MemoryError):
        optimizer.step()
    optimizer.fails = False
    if not again:
        own.grad = gradient
    optimizer.step()
    expected = stepped(other, undisturbed, [gradient])
    torch.testing.assert_close(own.detach(), expected, atol=1e-14, rtol=0)
    assert own.grad is gradient


def test_half_precision_does_not_round_away_the_mean_of_an_update():
    weight = nn.Parameter((random(4, 64) * 0.1 + 1).bfloat16())
    before = weight.detach().float()
    optimizer = torch.optim.SGD([weight], lr=1.0)
    centralize_gradients(optimizer, on="update")
    stepped(weight, optimizer, [(random(4, 64, seed=1) * 0.1 + 0.1).bfloat16()])
    moved = weight.detach().float() - before
    assert moved.abs().mean() > 0.05
    assert moved.mean(1).abs().max() < 2e-3  # half a unit in the last place of 1 is 2e-3 to 4e-3


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 5)

    def forward(self, images):
        return self.fc(self.conv(images).tanh().mean(dim=(2, 3)))


def trained(model, images, labels, on):
    """Four steps; the weights, and whether the gradients' memory stayed the same.

    DDP rebuilds its buffers once, after the first.
    """
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.1)
    centralize_gradients(optimizer, on=on)
    places = []
    for _ in range(4):
        optimizer.zero_grad(set_to_none=False)
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        places.append([p.grad.data_ptr() for p in model.parameters()])
    return [p.detach() for p in model.parameters()], places[2:] == places[1:-1]


def network_and_batch():
    torch.manual_seed(0)
    return Network().double(), random(8, 3, 5, 5), torch.arange(8) % 5


def one_of_two(rank, folder, on):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    model, images, labels = network_and_batch()
    parallel = DistributedDataParallel(model, gradient_as_bucket_view=True)
    weights, same_places = trained(parallel, images[rank::2], labels[rank::2], on)
    torch.save((weights, same_places), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("on", MODES)
def test_two_processes_train_as_one(on, tmp_path):
    for outcome in run_together(one_of_two, tmp_path, on):
        assert outcome is None
    model, images, labels = network_and_batch()
    expected, _ = trained(model, images, labels, on)
    for rank in range(2):
        found, same_places = torch.load(tmp_path / f"{rank}.pt")
        assert same_places  # the gradients are DDP's own buffers again after every step
        for own, other in zip(found, expected, strict=True):
            torch.testing.assert_close(own, other, atol=1e-12, rtol=0)
