"""Runs that train from a cache."""

import pytest
from images import truncate
from pydantic import ValidationError
from toy_data import write_toy_data
from training_runs import Recorder, assert_same_weights, make_request, press_ctrl_c, weights

from covtool.errors import ArgumentError, DataError, InterruptedRunError
from covtool.specs import LoadingSpec
from covtool.specs.byte_amounts import parse_bytes
from covtool.training import finetune, plan_finetune, resume_finetune

VARIED = {"reprob": 0.3, "vflip": 0.2, "workers": 2}


@pytest.fixture
def data(tmp_path):
    return write_toy_data(tmp_path / "toy", train=6, val=4)


@pytest.fixture
def asked(data, tmp_path):
    def request(cache, **options):
        place = {"cache_dir": str(tmp_path / "cache")} if cache == "disk" else {}
        return make_request(data, tmp_path / "runs", cache=cache, **place, **VARIED, **options)

    return request


def watched(request):
    watcher = Recorder()
    finetune(request, observer=watcher)
    return watcher


def losses(watcher):
    return [record.loss for record in watcher.steps]


def test_every_kind_of_cache_gives_the_same_run(asked):
    ram, disk, device = (watched(asked(cache)) for cache in ("ram", "disk", "device"))
    assert losses(ram) == losses(disk) == losses(device)
    assert [e.eval_loss for e in ram.epochs] == [e.eval_loss for e in disk.epochs]


def test_a_cached_run_is_the_run_from_files(asked):
    # The images are small: neither does the cache shrink them, nor are they decoded at a scale.
    assert losses(watched(asked("ram"))) == losses(watched(asked("off")))


@pytest.mark.parametrize("options", [{"aug": False}, {"aa": "rand-m9-mstd0.5", "scale": (0.05, 1)}])
def test_a_run_whose_images_pass_through_pillow_is_the_run_from_files(asked, options):
    cached, from_files = watched(asked("ram", **options)), watched(asked("off", **options))
    assert losses(cached) == losses(from_files)
    assert [e.eval_loss for e in cached.epochs] == [e.eval_loss for e in from_files.epochs]


def test_a_resumed_run_from_a_cache_ends_where_the_other_does(asked):
    whole = finetune(asked("disk", experiment="whole")).directory
    broken = Recorder(at_update=4, do=press_ctrl_c)
    with pytest.raises(InterruptedRunError):
        finetune(asked("disk", experiment="broken"), observer=broken)
    directory = resume_finetune(broken.plans[0].directory).directory
    assert_same_weights(*(weights(d / "checkpoints/last.pt") for d in (whole, directory)))


def test_a_dry_run_tells_what_the_cache_would_take_and_fills_none(asked, tmp_path):
    watcher = Recorder()
    result = plan_finetune(asked("disk"), observer=watcher)
    assert result.loss > 0
    assert any(note.startswith("The cache takes") for note in watcher.notes)
    assert not (tmp_path / "cache").exists()
    with pytest.raises(ArgumentError, match=r"--cache-memory allows 1\.0 kB"):
        plan_finetune(asked("ram", cache_memory="1kB"))


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_unreadable_images_are_left_out_of_a_cached_run(asked, data, cache):
    broken = truncate(next((data / "train").rglob("*.png")))
    with pytest.raises(DataError, match="1 of 18 images cannot be read"):
        finetune(asked(cache))
    for _ in range(2):  # the second finds the file of the first
        watcher = watched(asked(cache, on_bad_image="skip"))
        assert any(f"Left out 1 unreadable images of train: {broken}" in n for n in watcher.notes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cache_memory": "4GB"}, "--cache-memory has no effect without --cache"),
        ({"cache_side": 256}, "--cache-side has no effect without --cache"),
        ({"cache_dir": "x"}, "--cache-dir has no effect with --cache off"),
        ({"cache": "ram", "cache_dir": "x"}, "--cache-dir has no effect with --cache ram"),
    ],
)
def test_settings_of_no_cache_are_refused(settings, message):
    with pytest.raises(ArgumentError, match=message):
        LoadingSpec(**settings).validate_fields()


def test_amounts_are_read_as_people_write_them():
    amounts = {"4GB": 4e9, "800 mb": 8e8, "1.5GiB": 1.5 * 2**30, "7B": 7}
    assert {text: parse_bytes(text) for text in amounts} == amounts
    for text in ("4", "GB", "-1GB", "0GB", "4 parsecs", ""):
        with pytest.raises(ValidationError, match="a number with a unit"):
            LoadingSpec(cache_memory=text)


def test_the_command_refuses_a_cache_that_does_not_fit(covtool, data):
    code, _, err = covtool(
        *("finetune", "test_resnet", "--from-scratch", "--data", data, "--img-size", "32"),
        *("--cache", "ram", "--cache-memory", "2kB"),
    )
    assert code == 2
    assert "--cache-memory allows 2.0 kB" in err
    code, _, err = covtool("finetune", "x", "--data", data, "--cache", "ram", "--cache-memory", "2")
    assert code == 2
    assert "--cache-memory '2' is not valid" in err
