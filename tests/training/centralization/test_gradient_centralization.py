import pytest
import torch
from timm.optim import create_optimizer_v2
from torch import nn
from torch.nn import functional as F

from covtool.errors import UnknownVariantError
from covtool.training.centralization.hooks import MODES, centralize_gradients, layer_weights

# Optimizers whose update is linear in the gradients: "gradient" keeps it centralized exactly.
LINEAR = ["sgd", "momentum", "lars"]
TIMM = [
    *LINEAR,
    *("adam", "adamw", "nadam", "nadamw", "radam", "adamax", "rmsprop", "rmsproptf", "adabelief"),
    *("adadelta", "adagrad", "adopt", "adoptw", "madgrad", "madgradw", "lamb", "lion", "novograd"),
    *("sgdw", "sgdp", "adamp", "laprop", "mars", "adan", "adafactorbv", "muon", "lookahead_sgd"),
]
TORCH = {
    "torch-sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "torch-sgd-maximize": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.1, maximize=True),
    "torch-adam": lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.1),
    "torch-asgd": lambda p: torch.optim.ASGD(p, lr=0.1, weight_decay=0.1, lambd=0.0),
}
LINEAR_ELSEWHERE = ["lookahead_sgd", "torch-sgd", "torch-sgd-maximize", "torch-asgd"]
ALL = [*TIMM, *TORCH]


class Layers(nn.Module):
    """A convolution, a 1x1 depthwise one (fan-in 1) and a linear layer, each with a bias."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.depthwise = nn.Conv2d(4, 4, 1, groups=4)
        self.fc = nn.Linear(4, 5)

    def forward(self, images):
        return self.fc(self.depthwise(self.conv(images).tanh()).mean(dim=(2, 3)))


def network():
    torch.manual_seed(0)
    return Layers().double()


def make(name, model):
    if name in TORCH:
        return TORCH[name](model.parameters())
    return create_optimizer_v2(list(model.parameters()), opt=name, lr=0.05, weight_decay=0.1)


def train(model, optimizer, steps=4):
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        images = torch.randn(6, 3, 5, 5, generator=generator, dtype=torch.float64)
        labels = torch.randint(5, (6,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()


def row_sums(tensor):
    return tensor.detach().flatten(1).sum(1)


def change(model, optimizer, **options):
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model, optimizer, **options)
    return {name: p.detach() - before[name] for name, p in model.named_parameters()}


def assert_centralized(update):
    torch.testing.assert_close(
        row_sums(update), torch.zeros(update.shape[0], dtype=update.dtype), atol=1e-10, rtol=0
    )


@pytest.mark.parametrize("name", ALL)
def test_on_update_every_optimizer_keeps_the_row_sums_of_the_weights(name):
    model = network()
    optimizer = make(name, model)
    centralize_gradients(optimizer, on="update")
    changes = change(model, optimizer)
    for weight in ("conv.weight", "fc.weight"):
        assert_centralized(changes[weight])
        assert changes[weight].abs().max() > 0


@pytest.mark.parametrize("name", [*LINEAR, *LINEAR_ELSEWHERE])
def test_on_gradient_linear_optimizers_keep_the_row_sums_of_the_weights(name):
    model = network()
    optimizer = make(name, model)
    centralize_gradients(optimizer)
    changes = change(model, optimizer)
    for weight in ("conv.weight", "fc.weight"):
        assert_centralized(changes[weight])
        assert changes[weight].abs().max() > 0


@pytest.mark.parametrize("name", ["adam", "nadam", "radam", "adabelief", "adamax", "nadamlegacy"])
def test_on_gradient_the_first_moment_of_a_coupled_optimizer_is_centralized(name):
    model = network()
    kwargs = {"decoupled_decay": False} if name == "adabelief" else {}
    optimizer = create_optimizer_v2(
        list(model.parameters()), opt=name, lr=0.05, weight_decay=0.1, **kwargs
    )
    centralize_gradients(optimizer)
    train(model, optimizer, steps=1)
    # A multiple of the gradient that the optimizer saw, weight decay included.
    state = optimizer.state[model.fc.weight]
    assert_centralized(state["exp_avg"])


@pytest.mark.parametrize("mode", MODES.names)
@pytest.mark.parametrize("name", ALL)
def test_biases_are_trained_as_without(name, mode):
    plain, centralized = network(), network()
    ordinary, optimizer = make(name, plain), make(name, centralized)
    centralize_gradients(optimizer, on=mode)
    # One step only: later ones see other weights.
    train(plain, ordinary, steps=1)
    train(centralized, optimizer, steps=1)
    torch.testing.assert_close(centralized.fc.bias, plain.fc.bias, atol=1e-12, rtol=0)


@pytest.mark.parametrize("mode", MODES.names)
@pytest.mark.parametrize("name", ALL)
def test_weights_with_fan_in_1_still_train(name, mode):
    model = network()
    optimizer = make(name, model)
    centralize_gradients(optimizer, on=mode)
    assert change(model, optimizer)["depthwise.weight"].abs().min() > 0


@pytest.mark.parametrize("mode", MODES.names)
def test_conv_only_leaves_linear_layers_alone(mode):
    model, plain = network(), network()
    optimizer, ordinary = make("sgd", model), make("sgd", plain)
    centralize_gradients(optimizer, on=mode, conv_only=True)
    train(model, optimizer, steps=1)
    train(plain, ordinary, steps=1)
    assert torch.equal(model.fc.weight, plain.fc.weight)
    assert not torch.equal(model.conv.weight, plain.conv.weight)


@pytest.mark.parametrize("mode", MODES.names)
def test_only_chooses_the_weights(mode):
    model = network()
    optimizer = make("sgd", model)
    centralize_gradients(optimizer, on=mode, only=[model.conv.weight])
    changes = change(model, optimizer)
    assert_centralized(changes["conv.weight"])
    assert row_sums(changes["fc.weight"]).abs().max() > 1e-6


@pytest.mark.parametrize("mode", MODES.names)
@pytest.mark.parametrize("name", ["sgd", "adam", "lookahead_sgd"])
def test_removing_restores_the_optimizer(name, mode):
    model, plain = network(), network()
    optimizer, ordinary = make(name, model), make(name, plain)
    centralize_gradients(optimizer, on=mode).remove()
    train(model, optimizer)
    train(plain, ordinary)
    for own, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(own, other)


@pytest.mark.parametrize("mode", MODES.names)
@pytest.mark.parametrize("name", ALL)
def test_no_optimizer_minds_whether_gradients_are_overwritten_or_kept(name, mode):
    kept, overwritten = network(), network()
    for model, in_place in ((kept, False), (overwritten, True)):
        optimizer = make(name, model)
        centralize_gradients(optimizer, on=mode, in_place=in_place)
        train(model, optimizer)
    for own, other in zip(kept.parameters(), overwritten.parameters(), strict=True):
        assert torch.equal(own, other)


@pytest.mark.parametrize("mode", MODES.names)
def test_the_callers_gradients_are_the_same_tensors_afterwards(mode):
    model = network()
    optimizer = make("adam", model)
    centralize_gradients(optimizer, on=mode)
    F.cross_entropy(model(torch.randn(4, 3, 5, 5, dtype=torch.float64)), torch.arange(4)).backward()
    gradients = [(p.grad, p.grad.clone()) for p in model.parameters()]
    optimizer.step()
    for parameter, (gradient, value) in zip(model.parameters(), gradients, strict=True):
        assert parameter.grad is gradient
        assert torch.equal(gradient, value)


@pytest.mark.parametrize("mode", MODES.names)
def test_a_closure_is_centralized_as_well(mode):
    model = network()
    optimizer = make("sgd", model)
    centralize_gradients(optimizer, on=mode)
    before = model.fc.weight.detach().clone()
    images = torch.randn(4, 3, 5, 5, dtype=torch.float64)

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), torch.arange(4))
        loss.backward()
        return loss

    assert optimizer.step(closure) > 0
    assert_centralized(model.fc.weight - before)


@pytest.mark.parametrize("mode", MODES.names)
def test_sparse_gradients_are_left_alone(mode):
    table = nn.Embedding(5, 4, sparse=True)
    optimizer = torch.optim.SGD(table.parameters(), lr=1.0)
    centralize_gradients(optimizer, on=mode)
    before = table.weight.detach().clone()
    table(torch.tensor([1])).sum().backward()
    optimizer.step()
    torch.testing.assert_close(before - table.weight, torch.eye(5)[1][:, None].expand(5, 4))


def test_layer_weights_are_those_of_layers_and_not_position_embeddings():
    class Tokens(Layers):
        def __init__(self):
            super().__init__()
            self.pos_embed = nn.Parameter(torch.zeros(1, 4, 4))
            self.attention = nn.MultiheadAttention(4, 2)

    model = Tokens()
    chosen = {id(p) for p in layer_weights(model)}
    names = {n for n, p in model.named_parameters() if id(p) in chosen}
    assert names == {
        "conv.weight",
        "depthwise.weight",
        "fc.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
    }
    of_convolutions = layer_weights(model, conv_only=True)
    assert [id(p) for p in of_convolutions] == [id(model.conv.weight), id(model.depthwise.weight)]


def test_an_unknown_mode_is_refused_with_the_known_ones():
    model = network()
    with pytest.raises(UnknownVariantError, match=r"mode named 'updates'.*Did you mean 'update'"):
        centralize_gradients(make("sgd", model), on="updates")
