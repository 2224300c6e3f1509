import pytest

from covtool.errors import ArgumentError
from covtool_cli.arguments import in_our_spelling


@pytest.mark.parametrize("flag", ["--mean", "--std"])
def test_numbers_behind_a_flag_are_joined(flag):
    assert in_our_spelling(["e", flag, "0.5", ".25", "1e-1", "m.pth"]) == [
        "e",
        flag,
        "0.5,.25,1e-1",
        "m.pth",
    ]
    assert in_our_spelling([flag, "0.5,", "0.5,", "0.5"]) == [flag, "0.5,0.5,0.5"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["m.pth", "--mean", "0.5,0.5,0.5", "--std", "1"],
        ["--mean=0.5", "0.5"],
        ["--mean"],
        ["--mean", "0.5", "--", "0.5"],
        ["--batch-size", "4", "5"],
        ["--", "--mean", "0.5", "0.5", "--input-size"],
    ],
)
def test_other_arguments_stay_as_they_are(arguments):
    assert in_our_spelling(arguments) == arguments


def test_a_file_that_is_called_by_a_number_is_no_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0.7").touch()
    assert in_our_spelling(["--mean", "0.5", "0.7"]) == ["--mean", "0.5", "0.7"]


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        (["--input-size", "3", "224", "224", "m.pth"], "224"),
        (["--input-size", "3", "256", "128"], "256x128"),
        (["--input-size=192"], "192"),
    ],
)
def test_timms_input_size_is_an_error_that_names_ours(arguments, size):
    with pytest.raises(ArgumentError, match=f"--img-size {size}\\."):
        in_our_spelling(["evaluate", *arguments])
