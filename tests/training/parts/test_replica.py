import pytest
import torch
from process_group import run_together
from torch import nn

from covtool.errors import ArgumentError
from covtool.layers.synchronized_batch_norm import SynchronizedBatchNorm
from covtool.processes import joined
from covtool.specs import InputSpec
from covtool.training.parts.acceleration import synchronize_batch_norms_
from covtool.training.parts.replica import make_replica

IMAGES = InputSpec(size=(4, 4))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 1)
        self.fc = nn.Linear(4, 2)
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, images):
        return self.fc(self.conv(images).mean((2, 3)))


def images_of(rank):
    return torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(rank))


def gradients_of(net):
    """Copies: the memory of the gradients is used again."""
    named = net.named_parameters()
    return {name: None if p.grad is None else p.grad.clone() for name, p in named}


def gradients(rank):
    net, found = Net(), []
    with joined(timeout_s=30) as processes:
        replica = make_replica(net, processes, IMAGES, compiled=False)
        for frozen in (False, True):
            net.conv.requires_grad_(not frozen)
            replica.renew_()
            net.zero_grad()
            with replica.accumulating():
                replica(images_of(rank)).sum().backward()
            with replica.exchanging():
                replica(images_of(rank + 10)).square().sum().backward()
            found.append(gradients_of(net))
        net.zero_grad()
        replica(images_of(rank))  # no backward pass follows
        replica.abandon_()
        with replica.accumulating():
            replica(images_of(rank)).sum().backward()
        return found, gradients_of(net)["fc.weight"]


def test_gradients_are_means_over_processes_whatever_is_trained_and_used():
    results = run_together(gradients, world=3)
    net = Net()
    for rank in range(3):
        loss = net(images_of(rank)).sum() + net(images_of(rank + 10)).square().sum()
        (loss / 3).backward()
    expected = gradients_of(net)
    for rank, ((trained, frozen), own) in enumerate(results):
        for name in ("conv.weight", "conv.bias", "fc.weight", "fc.bias"):
            torch.testing.assert_close(trained[name], expected[name])
        torch.testing.assert_close(frozen["fc.weight"], expected["fc.weight"])
        assert trained["unused"] is frozen["conv.weight"] is None
        # What was only added up stays with its process, after an abandoned pass as well.
        net.zero_grad()
        net(images_of(rank)).sum().backward()
        torch.testing.assert_close(own, net.fc.weight.grad)


SHAPES = {"1d": (nn.BatchNorm1d, (4, 5)), "2d": (nn.BatchNorm2d, (4, 5, 2, 3))}


def normalized(rank, kind, momentum):
    norm, features, weight = layer_and_inputs(kind, momentum)
    synchronize_batch_norms_(norm, torch.device("cpu"))
    own = features.split([3, 1])[rank].clone().requires_grad_()
    with joined(timeout_s=30):
        out = norm(own)
        (out * weight.split([3, 1])[rank]).sum().backward()
    state = {name: tensor.detach() for name, tensor in norm.state_dict().items()}
    return out.detach(), own.grad, norm.weight.grad, state


def layer_and_inputs(kind, momentum):
    make, shape = SHAPES[kind]
    generator = torch.Generator().manual_seed(0)
    norm = make(5, momentum=momentum, dtype=torch.float64)
    nn.init.normal_(norm.weight, generator=generator)
    features = 3 + torch.randn(shape, generator=generator, dtype=torch.float64)
    return norm, features, torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("kind", SHAPES)
def test_a_synchronized_batch_norm_is_that_of_the_whole_batch(kind, momentum):
    parts = run_together(normalized, kind, momentum)
    norm, features, weight = layer_and_inputs(kind, momentum)
    features.requires_grad_()
    out = norm(features)
    (out * weight).sum().backward()
    torch.testing.assert_close(torch.cat([part[0] for part in parts]), out.detach())
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), features.grad)
    torch.testing.assert_close(parts[0][2] + parts[1][2], norm.weight.grad)
    for *_, state in parts:
        torch.testing.assert_close(state, {k: v.detach() for k, v in norm.state_dict().items()})


def test_in_eval_mode_and_alone_it_is_a_batch_norm_like_any_other():
    for kind in SHAPES:
        norm, features, _ = layer_and_inputs(kind, 0.1)
        synchronized, *_ = layer_and_inputs(kind, 0.1)
        synchronize_batch_norms_(synchronized, torch.device("cpu"))
        assert isinstance(synchronized, SynchronizedBatchNorm)
        for _ in range(2):
            torch.testing.assert_close(synchronized(features), norm(features))
            norm.eval()
            synchronized.eval()


def test_a_batch_norm_of_its_own_kind_is_refused():
    class Odd(nn.BatchNorm2d):
        def forward(self, features):
            return 2 * super().forward(features)

    with pytest.raises(ArgumentError, match="'0' does not support --sync-bn: Odd"):
        synchronize_batch_norms_(nn.Sequential(Odd(3)), torch.device("cpu"))
