"""Image files are varied as cached pixels are, and decoded as far as their crop can show it."""

import numpy as np
import pytest
import torch
from images import photograph, write_photographs

from covtool.data.cache import CacheRequest, CacheSetting, open_caches, training_form
from covtool.data.datasets.reading import scan
from covtool.data.datasets.samples import FileSamples
from covtool.data.images import picture
from covtool.data.images.boxed import BoxedImage
from covtool.data.images.jpeg import JpegDecoder
from covtool.data.loading.loaders import training_loader
from covtool.data.rendering.choice import renderer_for
from covtool.data.rendering.draws import drawing
from covtool.data.rendering.from_files import FileRenderer
from covtool.data.rendering.variation import VariedSteps
from covtool.data.transforms.from_timm import training_transform
from covtool.data.transforms.normalization import Normalization
from covtool.specs import AugmentationSpec, InputSpec, LoadingSpec

RGB = InputSpec(size=(24, 20), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
GRAY = InputSpec(channels=1, size=(24, 20), mean=(0.4,), std=(0.2,))
SIZES = [(40, 30), (50, 50), (30, 50), (110, 80), (60, 20), (12, 10), (22, 90)]
WHOLE = (0.05, 1.0)  # so small crops that nothing is shrunk
VARIATIONS = {
    "crops": AugmentationSpec(scale=WHOLE, color_jitter=0),
    "colors": AugmentationSpec(scale=WHOLE, color_jitter=0.4, vflip=0.3),
    "erased": AugmentationSpec(scale=WHOLE, reprob=0.6),
    "policy": AugmentationSpec(scale=WHOLE, aa="rand-m9-mstd0.5-inc1"),
    "lanczos": AugmentationSpec(scale=WHOLE, train_interpolation="lanczos"),
}


def write_jpegs(folder, sizes):
    for number, size in enumerate(sizes):
        path = folder / "ab"[number % 2] / f"{number:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(size, seed=number).save(path, quality=90)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return {
        "png": write_photographs(root / "png", SIZES),
        "jpg": write_jpegs(root / "jpg", SIZES),
    }


def epoch_of(loader):
    loader.set_epoch(0)
    return torch.cat([images for images, _ in loader])


@pytest.mark.parametrize("cache", ["off", "varied by Pillow"])
def test_images_stay_columns(folders, cache):
    samples = scan(folders["png"]).samples("all")
    given = {"exact_decode": True} if cache == "off" else {}
    loader = training_loader(samples, RGB, AugmentationSpec(), batch_size=2, workers=0, **given)
    assert isinstance(samples, FileSamples)
    assert loader.dataset.dataset.samples is samples


@pytest.mark.parametrize("mode", ["center", "squash"])
@pytest.mark.parametrize("input", [RGB, GRAY], ids=["rgb", "gray"])
@pytest.mark.parametrize("name", VARIATIONS)
@pytest.mark.parametrize("format", ["png", "jpg"])
def test_files_give_the_very_batches_of_a_cache(folders, format, name, input, mode):
    """One path: bit by bit, as long as the cache shrinks nothing and files are decoded whole."""
    input, augmentation = input.model_copy(update={"crop_mode": mode}), VARIATIONS[name]
    samples = scan(folders[format]).splits["train"]
    setting = CacheSetting(
        spec=LoadingSpec(cache="ram"), root=folders[format], gray=input.channels == 1
    )
    form = training_form(input, augmentation)
    request = CacheRequest(split="train", samples=samples, form=form)
    settings = {"batch_size": 4, "workers": 0, "drop_last": False, "seed": 3}
    from_cache = training_loader(
        open_caches([request], setting)[0], input, augmentation, **settings
    )
    from_files = training_loader(samples, input, augmentation, exact_decode=True, **settings)
    assert torch.equal(epoch_of(from_files), epoch_of(from_cache))


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_hand_over_what_one_process_makes(folders, workers):
    settings = {"batch_size": 2, "drop_last": False}
    samples, augmentation = scan(folders["jpg"]).splits["train"], VARIATIONS["erased"]
    found = training_loader(samples, RGB, augmentation, workers=workers, **settings)
    assert (found.dataset.dataset.ring is not None) == (workers > 0)
    alone = training_loader(samples, RGB, augmentation, workers=0, **settings)
    for _ in range(2):
        assert torch.equal(epoch_of(found), epoch_of(alone))


class Watched(JpegDecoder):
    """Keeps the sizes that images were decoded in."""

    sizes: list[tuple[int, int]]

    def __call__(self, *args, **settings):
        pixels = super().__call__(*args, **settings)
        self.sizes.append(pixels.shape[:2])
        return pixels


def file_renderer(input, augmentation, **settings):
    transform = training_transform(input, augmentation)
    render = FileRenderer(
        renderer_for(transform, Normalization(input.mean, input.std)), input, **settings
    )
    render._decoder = Watched()
    render._decoder.sizes = []
    return render, VariedSteps(transform)


def rendered(render, path, seed):
    out = render.layout.empty(1)[0]
    with drawing(0):
        render(path, (seed,), out)
    return out


@pytest.mark.parametrize("extent", [(90, 70), (233, 177), (640, 480), (1000, 300)])
def test_a_crop_is_decoded_at_the_smallest_scale_that_has_its_resolution(tmp_path, extent):
    path = tmp_path / "image.jpg"
    photograph(extent).save(path)
    augmentation = AugmentationSpec(scale=(0.02, 1.0), ratio=(0.5, 2), color_jitter=0)
    render, steps = file_renderer(RGB, augmentation)
    space, divisors = extent[::-1], set()
    for seed in range(40):
        rendered(render, path, seed)
        size = render._decoder.sizes[-1]
        with drawing(seed):
            crop = steps.draw_crop(space)
        divisor = round(space[0] / size[0])
        divisors.add(divisor)
        height, width = crop.box_in(size, space)[2:]
        enlarged = crop.box[2] < RGB.size[0] or crop.box[3] < RGB.size[1]
        assert divisor == 1 if enlarged else (height >= RGB.size[0] and width >= RGB.size[1])
        if divisor < 8:  # half of it would be too little
            half = tuple(-(-side // (2 * divisor)) for side in space)
            height, width = crop.box_in(half, space)[2:]
            assert height < RGB.size[0] or width < RGB.size[1]
    assert len(divisors) > 1


@pytest.mark.parametrize("name", ["crops", "policy"])
def test_scaled_decoding_draws_the_same_and_shows_the_same(tmp_path, name):
    path = tmp_path / "image.jpg"
    photograph((320, 240)).save(path, quality=95)
    augmentation = VARIATIONS[name].model_copy(update={"scale": (0.3, 1.0)})
    scaled, _ = file_renderer(RGB, augmentation)
    exact, _ = file_renderer(RGB, augmentation, exact_decode=True)
    distances = []
    for seed in range(30):
        one, other = rendered(scaled, path, seed), rendered(exact, path, seed)
        distances.append((one.float() - other.float()).abs().mean().item())
    assert set(exact._decoder.sizes) == {(240, 320)}
    assert max(max(size) for size in scaled._decoder.sizes) < 320
    # Of 255, where neighbors differ by 30: less than a pixel of the decoded image elsewhere.
    assert np.median(distances) < 10


@pytest.mark.parametrize("exact", [False, True])
def test_the_mean_of_crops_stays_where_it_is(tmp_path, exact):
    """Scaled decoding moves no crop on average: a ramp keeps its mean in both directions."""
    ramp = np.add.outer(np.linspace(20, 120, 480), np.linspace(0, 100, 640)).astype(np.uint8)
    path = tmp_path / "ramp.jpg"
    picture.as_image(ramp[..., None]).save(path, quality=95)
    augmentation = AugmentationSpec(scale=(0.1, 1.0), hflip=0, color_jitter=0)
    render, steps = file_renderer(RGB, augmentation, exact_decode=exact)
    shifts = []
    for seed in range(60):
        with drawing(seed):
            top, left, height, width = steps.draw_crop(ramp.shape).box
        expected = ramp[top : top + height, left : left + width].mean()
        shifts.append(rendered(render, path, seed).float().mean().item() - expected)
    assert abs(np.mean(shifts)) < 0.3
    assert np.abs(shifts).max() < 2


def test_a_bounding_box_is_cropped_in_pixels_of_the_whole_image(tmp_path):
    path = tmp_path / "image.jpg"
    photograph((320, 240)).save(path, quality=90)
    boxed = BoxedImage(path, (100.0, 40.0, 260.0, 200.0))
    render, _ = file_renderer(RGB, VARIATIONS["crops"])
    inside = picture.read_picture(boxed, JpegDecoder())
    picture.as_image(inside.pixels()).save(tmp_path / "inside.png")
    for seed in range(5):
        found = rendered(render, boxed, seed)
        assert torch.equal(found, rendered(render, tmp_path / "inside.png", seed))
    assert not render._decoder.sizes  # it arrives as a PNG
