"""What fast-MPN-COV and DifferentiableSVD write is read, logits equal.

The reference networks are written here from the published description, on torchvision's layers.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from tolerances import FLOAT32_CHAIN
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision import models

from covtool.checkpoints.inspection import inspect_source
from covtool.checkpoints.model_file import load
from covtool.checkpoints.opening import open_model
from covtool.conversion import ConversionRequest, convert
from covtool.errors import ArgumentError, CheckpointError
from covtool.specs import HeadSpec

CLASSES = 3
DIM = 12


class Root(nn.Module):
    """Covariance, Newton-Schulz iteration and vectorization, image by image."""

    def __init__(self, iterations: int = 5, *, full: bool = False) -> None:
        super().__init__()
        self.iterations, self.full = iterations, full

    def forward(self, maps: Tensor) -> Tensor:
        return torch.stack([self.one(image.flatten(1)) for image in maps])

    def one(self, rows: Tensor) -> Tensor:
        cov = torch.cov(rows.double(), correction=0)
        identity = torch.eye(len(cov), dtype=cov.dtype)
        root, inverse_root = cov / cov.trace(), identity
        for _ in range(self.iterations):
            step = (3 * identity - inverse_root @ root) / 2
            root, inverse_root = root @ step, step @ inverse_root
        root = (root * cov.trace().sqrt()).float()
        return root.flatten() if self.full else root[*torch.triu_indices(*root.shape)]


class ExactRoot(Root):
    """As DifferentiableSVD: the root by singular values, the other vectors the same."""

    def one(self, rows: Tensor) -> Tensor:
        U, S, _ = torch.linalg.svd(torch.cov(rows.double(), correction=0))
        root = ((U * S.sqrt()) @ U.T).float()
        return root.flatten() if self.full else root[*torch.triu_indices(*root.shape)]


class ScaledRoot(Root):
    """As DifferentiableSVD's SEB: the exact root, plus itself times |root exp(-cov)|."""

    def one(self, rows: Tensor) -> Tensor:
        cov = torch.cov(rows.double(), correction=0)
        U, S, _ = torch.linalg.svd(cov)
        root = (U * S.sqrt()) @ U.T
        root = (root + root * (root @ torch.linalg.matrix_exp(-cov)).norm()).float()
        return root.flatten() if self.full else root[*torch.triu_indices(*root.shape)]


class Bilinear(nn.Module):
    """B-CNN: second moments, signed root, unit length."""

    def forward(self, maps: Tensor) -> Tensor:
        rows = maps.flatten(2).double()
        moments = (rows @ rows.mT / rows.shape[2]).flatten(1)
        return nn.functional.normalize(moments.sign() * (moments.abs() + 1e-8).sqrt()).float()


class CompactBilinear(Bilinear):
    """Two count sketches whose hashes are drawn behind one seed, convolved, summed."""

    def __init__(self, channels: int, size: int = 8192) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            buckets = [torch.randint(0, size, (channels,), dtype=torch.long) for _ in range(2)]
            signs = [(2 * torch.randint(0, 2, (channels,)) - 1).double() for _ in range(2)]
        self.sketches = [
            torch.zeros(channels, size, dtype=torch.double).index_put(
                (torch.arange(channels), where), sign
            )
            for where, sign in zip(buckets, signs, strict=True)
        ]

    def forward(self, maps: Tensor) -> Tensor:
        rows = maps.flatten(2).mT.double()
        first, second = (torch.fft.fft(rows @ sketch) for sketch in self.sketches)
        summed = torch.fft.ifft(first * second).real.sum(dim=1)
        return nn.functional.normalize(summed.sign() * (summed.abs() + 1e-8).sqrt()).float()


def average() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def reduction(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, DIM, 1, bias=False), nn.BatchNorm2d(DIM), nn.ReLU())


class Basemodel(nn.Module):
    """features, representation, classifier: what fast-MPN-COV makes of every backbone."""

    def __init__(
        self, features: nn.Module, head: nn.Module, classifier: nn.Module, channels: int | None
    ) -> None:
        super().__init__()
        self.features = features
        self.representation = nn.Module()
        if channels is not None:
            self.representation.conv_dr_block = reduction(channels)
        self.head, self.classifier = head, classifier

    def forward(self, images: Tensor) -> Tensor:
        maps = self.features(images)
        if hasattr(self.representation, "conv_dr_block"):
            maps = self.representation.conv_dr_block(maps)
        return self.classifier(self.head(maps))


class Direct(nn.Module):
    """mpncovresnet: torchvision's names, layer_reduce, a last stage of stride 1."""

    def __init__(self, *, full: bool = False) -> None:
        super().__init__()
        net = stride_1(models.resnet18())
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            setattr(self, name, getattr(net, name))
        self.layer_reduce = nn.Conv2d(512, DIM, 1, bias=False)
        self.layer_reduce_bn = nn.BatchNorm2d(DIM)
        self.head = Root(full=full)
        self.fc = nn.Linear(DIM**2 if full else TRIANGLE, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))
        return self.fc(self.head(self.layer_reduce_bn(self.layer_reduce(maps)).relu()))


TRIANGLE = DIM * (DIM + 1) // 2


def stride_1(net: nn.Module) -> nn.Module:
    for module in net.layer4[0].modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.stride = (1, 1)
    return net


def layers_of(net: nn.Module) -> list[nn.Module]:
    return list(net.children())[:-2]


def resnet() -> nn.Module:
    return Basemodel(
        nn.Sequential(*layers_of(models.resnet18())), Root(), nn.Linear(TRIANGLE, CLASSES), 512
    )


def pretrained_mpncov_resnet() -> nn.Module:
    features = [*layers_of(stride_1(models.resnet18())), *reduction(512)]
    return Basemodel(nn.Sequential(*features), Root(), nn.Linear(TRIANGLE, CLASSES), None)


def averaged_resnet() -> nn.Module:
    return Basemodel(
        nn.Sequential(*layers_of(models.resnet18())), average(), nn.Linear(512, CLASSES), None
    )


def pretrained_mpncov_resnet_with(head: nn.Module, inputs: int) -> nn.Module:
    network = pretrained_mpncov_resnet()
    network.head, network.classifier = head, nn.Linear(inputs, CLASSES)
    return network


def vgg_features() -> nn.Sequential:
    """Without the classifier of 120 million random numbers that nothing here looks at."""
    return models.vgg.make_layers(models.vgg.cfgs["A"][:-1], batch_norm=True)


def vgg_with(head: nn.Module, inputs: int) -> nn.Module:
    return Basemodel(vgg_features(), head, nn.Linear(inputs, CLASSES), None)


def vgg(*, hidden: bool = False) -> nn.Module:
    classifier = nn.Linear(TRIANGLE, CLASSES)
    if hidden:
        classifier = nn.Sequential(
            nn.Linear(TRIANGLE, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, CLASSES),
        )
    return Basemodel(vgg_features(), Root(), classifier, 512)


def alexnet(*, hidden: bool = False) -> nn.Module:
    with torch.device("meta"):  # its first layer of 38 million numbers is replaced
        network = models.alexnet(num_classes=CLASSES)
    network.features.to_empty(device="cpu")
    for module in network.features:
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()
    if hidden:
        classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(TRIANGLE, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, CLASSES),
        )
        return Basemodel(network.features[:-1], Root(), classifier, 256)
    return Basemodel(network.features[:-1], Root(), nn.Linear(256 * 257 // 2, CLASSES), None)


def densenet() -> nn.Module:
    features = models.densenet121().features
    features.add_module("last_relu", nn.ReLU())
    return Basemodel(features, Root(), nn.Linear(TRIANGLE, CLASSES), 1024)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "mpncovresnet": (Direct, "resnet18"),
    "mpncovresnet, whole matrix": (lambda: Direct(full=True), "resnet18"),
    "resnet": (resnet, "resnet18"),
    "pretrained mpncovresnet": (pretrained_mpncov_resnet, "resnet18"),
    "resnet, averaged": (averaged_resnet, "resnet18"),
    "vgg": (vgg, "vgg11_bn"),
    "vgg, three layers": (lambda: vgg(hidden=True), "vgg11_bn"),
    "vgg, averaged": (lambda: vgg_with(average(), 512), "vgg11_bn"),
    "vgg, bilinear": (lambda: vgg_with(Bilinear(), 512**2), "vgg11_bn"),
    "vgg, compact bilinear": (lambda: vgg_with(CompactBilinear(512), 8192), "vgg11_bn"),
    "pretrained mpncovresnet, averaged": (
        lambda: pretrained_mpncov_resnet_with(average(), DIM),
        "resnet18",
    ),
    "pretrained mpncovresnet, bilinear": (
        lambda: pretrained_mpncov_resnet_with(Bilinear(), DIM**2),
        "resnet18",
    ),
    "alexnet": (alexnet, "alexnet"),
    "alexnet, three layers": (lambda: alexnet(hidden=True), "alexnet"),
    "densenet": (densenet, "densenet121"),
}


def made(name: str) -> nn.Module:
    """Return a network of its own: what a test changes is not that of another."""
    return copy.deepcopy(drawn(name))


@cache
def drawn(name: str) -> nn.Module:
    """Draw millions of random numbers, once for each network."""
    torch.manual_seed(0)
    network = NETWORKS[name][0]()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
    return network.eval()


def state_of(network: nn.Module) -> OrderedDict:
    return OrderedDict((n, t) for n, t in network.state_dict().items() if not n.startswith("head."))


def as_published(state: OrderedDict, path: Path, arch: str = "resnet18") -> Path:
    torch.save(
        {
            "epoch": 3,
            "arch": arch,
            "state_dict": state,
            "best_prec1": torch.tensor(71.5),
            "optimizer": {"state": {}, "param_groups": []},
        },
        path,
    )
    return path


@pytest.fixture(scope="module")
def images() -> Tensor:
    # 16 positions behind the last stage: more than the channels of most heads here.
    return torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_equal_those_of_the_published_network(
    name: str, images: Tensor, tmp_path: Path
) -> None:
    network = made(name)
    base = NETWORKS[name][1]
    path = as_published(state_of(network), tmp_path / "model_best.pth.tar", base)
    opened = open_model(path)
    assert opened.recipe.base.name == base
    assert opened.recipe.num_classes == CLASSES
    with torch.no_grad():
        assert_close(opened.model(images), network(images), **FLOAT32_CHAIN)


PREFIXES = {
    "plain": lambda name: name,
    "module in front": lambda name: f"module.{name}",
    "module behind features": lambda name: name.replace("features.", "features.module.", 1),
}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_parallel_prefixes_are_taken_off(prefix: str, tmp_path: Path) -> None:
    state = OrderedDict((PREFIXES[prefix](n), t) for n, t in state_of(made("resnet")).items())
    opened = open_model(as_published(state, tmp_path / "a.pth.tar"))
    assert opened.recipe.operations[-1].dim == DIM


def test_number_of_iterations_is_said_to_be_assumed_or_taken_as_told(
    images: Tensor, tmp_path: Path
) -> None:
    network = made("resnet")
    path = as_published(state_of(network), tmp_path / "a.pth.tar")
    assert any("--iterations" in note for note in open_model(path).notes)
    told = open_model(path, iterations=3)
    assert not any("--iterations" in note for note in told.notes)
    assert told.recipe.operations[-1].iterations == 3
    network.head = Root(iterations=3)
    with torch.no_grad():
        assert_close(told.model(images), network(images), **FLOAT32_CHAIN)


@pytest.mark.parametrize("arch", ["resnet18", "mpncovresnet18"])
def test_stride_of_the_last_stage_follows_the_name_in_the_file(arch: str, tmp_path: Path) -> None:
    path = as_published(state_of(made("resnet")), tmp_path / "a.pth.tar", arch)
    operations = [o.operation for o in open_model(path).recipe.operations]
    assert operations == (["last-stride", "head"] if arch.startswith("mpn") else ["head"])


def test_stride_of_a_bare_file_follows_arch(tmp_path: Path) -> None:
    path = tmp_path / "bare.pth"
    torch.save(state_of(made("resnet")), path)
    assert any("--arch mpncovresnet18" in note for note in open_model(path).notes)
    told = open_model(path, arch="mpncovresnet18")
    assert [o.operation for o in told.recipe.operations] == ["last-stride", "head"]
    inspection, _ = inspect_source(str(path), arch="mpncovresnet18")
    assert inspection.recipe == told.recipe
    with pytest.raises(CheckpointError, match="does not fit mpncovresnet50"):
        open_model(path, arch="mpncovresnet50")


def test_mpncovvgg_keeps_its_stride(tmp_path: Path) -> None:
    path = as_published(state_of(made("vgg, three layers")), tmp_path / "a.pth", "mpncovvgg11_bn")
    [head] = open_model(path).recipe.operations
    assert head.hidden == "keep"


@pytest.mark.parametrize("inputs", [512, 8192])
def test_vgg_of_another_author_is_not_taken_for_a_published_one(
    inputs: int, tmp_path: Path
) -> None:
    path = tmp_path / "vgg_for_small_images.pth"  # 1x1 or 4x4 positions behind all poolings
    torch.save({"net": state_of(vgg_with(nn.Identity(), inputs)), "acc": 91.0}, path)
    with pytest.raises(CheckpointError, match="no architecture"):
        open_model(path)


def test_counted_resnet_without_a_classifier_is_a_plain_body(tmp_path: Path) -> None:
    state = state_of(made("resnet, averaged"))
    body = OrderedDict((n, t) for n, t in state.items() if not n.startswith("classifier."))
    torch.save(body, tmp_path / "body.pth")
    opened = open_model(tmp_path / "body.pth", num_classes=4)
    assert opened.recipe.base.name == "resnet18"
    assert opened.recipe.operations == ()


def test_weights_of_half_precision_are_said_to_become_float32(tmp_path: Path) -> None:
    state = state_of(made("resnet"))
    half = OrderedDict((n, t.half() if t.is_floating_point() else t) for n, t in state.items())
    opened = open_model(as_published(half, tmp_path / "a.pth.tar"))
    assert any("float16" in note for note in opened.notes)
    assert opened.model.conv1.weight.dtype == torch.float32


def test_vector_of_the_whole_matrix_is_in_the_recipe(tmp_path: Path) -> None:
    network = made("mpncovresnet, whole matrix")
    path = as_published(state_of(network), tmp_path / "a.pth.tar")
    assert open_model(path).recipe.operations[-1].vec == "full"


def test_old_names_of_densenet_layers_are_known(tmp_path: Path) -> None:
    new = state_of(made("densenet"))
    old = OrderedDict(
        (n.replace(".norm1.", ".norm.1.").replace(".norm2.", ".norm.2.")
          .replace(".conv1.", ".conv.1.").replace(".conv2.", ".conv.2."), t)
        for n, t in new.items()
    )  # fmt: skip
    assert any(".norm.1." in name for name in old)
    opened = open_model(as_published(old, tmp_path / "a.pth.tar"))
    assert opened.recipe.base.name == "densenet121"


@pytest.mark.parametrize("missing", ["representation.conv_dr_block.1.weight", "classifier.bias"])
def test_missing_tensor_is_an_error_that_names_it(missing: str, tmp_path: Path) -> None:
    state = state_of(made("resnet"))
    del state[missing]
    with pytest.raises(CheckpointError, match="missing"):
        open_model(as_published(state, tmp_path / "a.pth.tar"))


@pytest.mark.parametrize(
    ("name", "missing"),
    [("resnet", "features.6.0.conv1.weight"), ("mpncovresnet", "layer3.0.conv1.weight")],
)
def test_missing_tensor_of_the_body_is_named_as_torchvision_does(
    name: str, missing: str, tmp_path: Path
) -> None:
    state = state_of(made(name))
    del state[missing]
    with pytest.raises(CheckpointError, match=r"body") as caught:
        open_model(as_published(state, tmp_path / "a.pth.tar"))
    assert "missing: layer3.0.conv1.weight" in str(caught.value).splitlines()[-2]


def test_missing_classifier_is_an_error(tmp_path: Path) -> None:
    state = state_of(made("resnet"))
    for name in ("classifier.weight", "classifier.bias"):
        del state[name]
    with pytest.raises(CheckpointError, match="its classifier"):
        open_model(as_published(state, tmp_path / "a.pth.tar"))


def test_classifier_of_another_length_is_an_error_that_gives_the_numbers(tmp_path: Path) -> None:
    state = state_of(made("resnet"))
    state["classifier.weight"] = torch.zeros(CLASSES, 8192)
    with pytest.raises(CheckpointError, match="8,192 features, and 12 channels"):
        open_model(as_published(state, tmp_path / "a.pth.tar"))


def test_import_writes_a_covtool_file_that_answers_alike(images: Tensor, tmp_path: Path) -> None:
    network = made("mpncovresnet")
    path = as_published(state_of(network), tmp_path / "a.pth.tar")
    request = ConversionRequest(
        source=str(path), operations=[HeadSpec()], output=tmp_path / "a.safetensors"
    )
    result = convert(request)
    with torch.no_grad():
        assert_close(load(result.path)(images), network(images), **FLOAT32_CHAIN)
    assert result.untouched > 100


def test_import_with_another_root_is_that_of_an_eigendecomposition(
    images: Tensor, tmp_path: Path
) -> None:
    network = made("mpncovresnet, whole matrix")
    network.head = ExactRoot(full=True)
    path = as_published(state_of(network), tmp_path / "a.pth.tar")
    assert any("--head mpn" in note for note in open_model(path).notes)
    request = ConversionRequest(
        source=str(path),
        operations=[HeadSpec(head="mpn", gradient="pade")],
        output=tmp_path / "a.safetensors",
    )
    model = load(convert(request).path)
    own = model.recipe.operations[-1]
    assert (own.head, own.gradient, own.dim, own.vec) == ("mpn", "pade", DIM, "full")
    with torch.no_grad():
        assert_close(model(images), network(images), **FLOAT32_CHAIN)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (HeadSpec(head="cov"), "--head cov"),
        (HeadSpec(dim=8), "--dim"),
        (HeadSpec(head="mpn", tap="layer3"), "--tap"),
        (HeadSpec(post_norm="batchnorm"), "--post-norm"),
    ],
)
def test_import_with_what_was_not_trained_is_refused_with_the_way_to_go(
    head: HeadSpec, said: str, tmp_path: Path
) -> None:
    path = as_published(state_of(made("resnet")), tmp_path / "a.pth.tar")
    request = ConversionRequest(
        source=str(path), operations=[head], output=tmp_path / "a.safetensors"
    )
    with pytest.raises(ArgumentError, match="imported as it is") as caught:
        convert(request)
    assert said in caught.value.hint
    assert "--head-schedule" in caught.value.hint
    assert not (tmp_path / "a.safetensors").exists()


def test_import_of_bilinear_pooling_needs_no_head_to_be_named(tmp_path: Path) -> None:
    state = state_of(made("pretrained mpncovresnet, bilinear"))
    path = as_published(state, tmp_path / "a.pth.tar")
    request = ConversionRequest(
        source=str(path), operations=[HeadSpec()], output=tmp_path / "a.safetensors"
    )
    assert load(convert(request).path).recipe.operations[-1].head == "bilinear"


@pytest.mark.parametrize("name", ["pretrained mpncovresnet", "mpncovresnet, whole matrix"])
def test_import_as_scaling_eigen_branch_answers_as_the_authors_code(
    name: str, images: Tensor, tmp_path: Path
) -> None:
    network = made(name)
    network.head = ScaledRoot(full=network.head.full)
    path = as_published(state_of(network), tmp_path / "a.pth.tar")
    opened = open_model(path)
    assert any("--head seb" in note for note in opened.notes)
    request = ConversionRequest(
        source=str(path), operations=[HeadSpec(head="seb")], output=tmp_path / "a.safetensors"
    )
    result = convert(request)
    assert not any("does not tell" in note for note in result.plan.notes)
    with torch.no_grad():
        expected = network(images)
        assert_close(load(result.path)(images), expected, **FLOAT32_CHAIN)
        assert (opened.model(images) - expected).norm() > 0.1 * expected.norm()


FOLDERS = {
    "Finetune-CUB_200_2011-resnet18-SEB-reproduce-lr3e-3-bs10double20": ("seb", "svd"),
    "FromScratch-ILSVRC2012-resnet18-SVD_Pade-reproduce-lr0.0794-bs256": ("mpn", "pade"),
    "FromScratch-ILSVRC2012-resnet18-MPNCOV-reproduce-lr0.1-bs256": ("isqrt", "exact"),
    "seb": ("isqrt", "exact"),
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_meta_layer_is_the_one_in_the_name_of_the_published_folder(
    folder: str, tmp_path: Path
) -> None:
    place = tmp_path / folder / "second_stage"
    place.mkdir(parents=True)
    opened = open_model(as_published(state_of(made("resnet")), place / "model_best.pth.tar"))
    head = opened.recipe.operations[-1]
    assert (head.head, head.gradient) == FOLDERS[folder]
    assert any(f"The name {folder} says" in note for note in opened.notes) == ("-" in folder)
    assert any("wrong" in note for note in opened.notes) == ("-" not in folder)


@pytest.mark.parametrize("name", ["vgg, bilinear", "vgg, compact bilinear"])
def test_small_bilinear_features_have_the_published_stabilizer(
    name: str, images: Tensor, tmp_path: Path
) -> None:
    network = made(name)
    with torch.no_grad():
        for norm in [m for m in network.features if isinstance(m, nn.BatchNorm2d)][-1:]:
            norm.weight.mul_(1e-4)  # second moments around 1e-8, as small as the stabilizer
            norm.bias.zero_()
    path = as_published(state_of(network), tmp_path / "a.pth.tar", "vgg11_bn")
    opened = open_model(path)
    assert opened.recipe.operations[-1].thresh == 1e-8
    with torch.no_grad():
        expected = network(images)
        assert_close(opened.model(images), expected, **FLOAT32_CHAIN)
        for module in opened.model.modules():
            if hasattr(module, "thresh"):
                module.thresh = None
        assert (opened.model(images) - expected).norm() > 1e-3 * expected.norm()


@pytest.mark.parametrize("name", ["resnet", "resnet, averaged"])
@pytest.mark.parametrize("told", [True, False])
def test_stride_that_no_file_tells_is_said_to_be_assumed(
    name: str, told: bool, tmp_path: Path
) -> None:
    path = tmp_path / "bare.pth"
    if told:
        as_published(state_of(made(name)), path)
    else:
        torch.save(state_of(made(name)), path)
    said = any("--arch mpncovresnet18" in note for note in open_model(path).notes)
    assert said != told


def test_inspection_shows_the_head(tmp_path: Path) -> None:
    path = as_published(state_of(made("mpncovresnet")), tmp_path / "a.pth.tar")
    inspection, _ = inspect_source(str(path))
    assert inspection.recipe.base.name == "resnet18"
    assert [o.operation for o in inspection.recipe.operations] == ["last-stride", "head"]
    assert inspection.num_classes == CLASSES
