import pytest
from timm.data import ImageNetInfo

from covtool.errors import DataError
from covtool.evaluation import match_classes
from covtool.evaluation.classification.class_matching import classes_stay

TWELVE = [str(index) for index in range(12)]


def test_classes_are_matched_by_name_whatever_their_order() -> None:
    match = match_classes(["c", "a", "b"], ["a", "b", "c"], 3)
    assert (match.names, match.label_map, match.note) == (("c", "a", "b"), (1, 2, 0), None)
    assert (match.order, match.is_certain) == ("names", True)


def test_data_with_some_of_the_classes_will_do() -> None:
    match = match_classes(["a", "b", "c"], ["b", "c"], 3)
    assert match.label_map == (1, 2)
    assert match.note == "The data has 2 of the model's 3 classes."


def test_a_class_that_the_model_lacks_is_refused_with_both_lists() -> None:
    with pytest.raises(DataError, match=r"(?s)Model: a, b\. Data: a, z\..*own classes"):
        match_classes(["a", "b"], ["a", "z"], 2)


def test_a_model_without_names_is_taken_in_sorted_order_and_that_is_a_guess() -> None:
    match = match_classes(None, ["a", "b"], 2)
    assert (match.names, match.label_map) == (("a", "b"), (0, 1))
    assert (match.order, match.is_certain) == ("guessed", False)
    assert "does not name its classes" in match.note
    assert "--class-names" in match.note
    with pytest.raises(DataError, match="5 classes without names, the data set 2"):
        match_classes(None, ["a", "b"], 5)


def test_numbers_from_0_are_the_outputs_indices_whatever_their_sorted_order() -> None:
    match = match_classes(None, sorted(TWELVE), 12)
    assert sorted(TWELVE)[:4] == ["0", "1", "10", "11"]
    assert match.label_map == (0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9)
    assert match.names == tuple(TWELVE)
    assert match.order == "indices"


def test_padded_numbers_from_0_are_the_same_indices() -> None:
    match = match_classes(None, [f"{index:02}" for index in range(12)], 12)
    assert (match.label_map, match.order) == (tuple(range(12)), "indices")


def test_some_of_the_indices_will_do_and_it_is_said() -> None:
    match = match_classes(None, ["0", "10", "7"], 12)
    assert (match.label_map, match.order) == ((0, 10, 7), "indices")
    assert "numbers, 3 of them" in match.note


def test_names_in_the_file_win_over_indices() -> None:
    names = sorted(TWELVE)  # as ImageFolder numbers such folders
    match = match_classes(names, sorted(TWELVE), 12)
    assert (match.label_map, match.order) == (tuple(range(12)), "names")


def test_a_model_that_names_its_classes_takes_indices_of_them() -> None:
    match = match_classes(["b", "a"], ["0", "1"], 2)
    assert (match.label_map, match.names, match.order) == ((0, 1), ("b", "a"), "indices")


@pytest.mark.parametrize(
    "names",
    [
        [str(index) for index in range(1, 13)],
        [str(10 * index) for index in range(12)],
        [str(index) for index in range(-6, 6)],
        [f"{index}.0" for index in range(12)],
        ["0", "01", *(str(index) for index in range(2, 12))],
    ],
)
def test_other_numbers_are_refused_with_what_to_do(names) -> None:
    with pytest.raises(DataError, match="not the indices of the model's 12 outputs") as caught:
        match_classes(None, sorted(names), 12)
    assert "0 to 11" in caught.value.hint
    assert "--class-names FILE" in caught.value.hint


def test_imagenets_devkit_counts_from_1_and_is_refused() -> None:
    with pytest.raises(DataError, match="not the indices"):
        match_classes(None, sorted(str(index) for index in range(1, 1001)), 1000)


def test_some_numbers_that_count_from_1_are_a_guess() -> None:
    match = match_classes(None, [str(index) for index in range(1, 6)], 12)
    assert (match.label_map, match.order) == ((1, 2, 3, 4, 5), "guessed")
    assert "may count from 1" in match.note
    with pytest.raises(DataError, match="they differ"):
        match_classes(list("abcdefghijkl"), ["1", "2", "3"], 12)


def test_padded_numbers_from_1_are_a_guess_like_words() -> None:
    match = match_classes(None, [f"{index:03}" for index in range(1, 13)], 12)
    assert (match.label_map, match.order) == (tuple(range(12)), "guessed")


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (["Black_footed_Albatross", "Laysan_Albatross"], ["laysan albatross"]),
        (["001.Black_footed_Albatross", "002.Laysan_Albatross"], ["Laysan_Albatross"]),
        (["black footed albatross", "laysan albatross"], ["002.Laysan_Albatross"]),
    ],
)
def test_names_that_differ_in_spelling_only_are_matched_and_it_is_said(model, data) -> None:
    match = match_classes(model, data, 2)
    assert (match.label_map, match.order) == ((1,), "names")
    assert "in another way" in match.note


def test_spelling_does_not_make_two_classes_one() -> None:
    with pytest.raises(DataError, match="they differ"):
        match_classes(["a b", "a_b"], ["A-B", "a+b"], 2)
    with pytest.raises(DataError, match="they differ"):
        match_classes(["a b", "c"], ["A-B", "a+b"], 2)


def test_wordnet_ids_are_imagenets_indices() -> None:
    match = match_classes(None, ["n01440764", "n02102040", "n03888257"], 1000)
    assert match.label_map == (0, 217, 701)
    assert match.order == "wordnet"
    assert match.names[217].startswith("n02102040 English springer")
    with pytest.raises(DataError, match="1 WordNet ids are not among ImageNet's 1000: n00000001"):
        match_classes(None, ["n00000001"], 1000)


@pytest.mark.parametrize(
    ("num_classes", "subset"), [(21841, "imagenet-22k"), (21843, "imagenet-21k-goog")]
)
def test_wordnet_ids_are_found_among_larger_imagenets(num_classes, subset) -> None:
    names = ImageNetInfo(subset).label_names()
    match = match_classes(None, [names[20000], names[7]], num_classes)
    assert match.label_map == (20000, 7)


def test_imagenets_words_are_found_in_any_spelling() -> None:
    data = ["English_springer", "great white shark", "tench"]
    match = match_classes(None, data, 1000)
    assert (match.label_map, match.order) == ((217, 2, 0), "imagenet-names")
    with pytest.raises(DataError, match="1000 classes without names"):
        match_classes(None, ["crane", "tench"], 1000)  # a bird and a machine
    with pytest.raises(DataError, match="1000 classes without names"):
        match_classes(None, ["tench", "Tinca tinca"], 1000)  # one class


def test_a_model_with_imagenets_words_takes_wordnet_ids() -> None:
    words = ImageNetInfo().label_descriptions()
    match = match_classes(words, ["n02102040"], 1000)
    assert (match.label_map, match.order) == ((217,), "wordnet")
    reversed_words = match_classes(words[::-1], ["n02102040"], 1000)
    assert (reversed_words.label_map, reversed_words.order) == ((999 - 217,), "names")


def test_classes_stay_only_where_it_is_certain() -> None:
    assert classes_stay(["a", "b"], ["a", "b"], 2)
    assert classes_stay(None, ["0", "1"], 2)
    assert not classes_stay(None, ["a", "b"], 2)
    assert not classes_stay(["b", "a"], ["a", "b"], 2)
    assert not classes_stay(["a", "b", "c"], ["a", "b"], 3)
    assert not classes_stay(None, ["1", "2"], 2)


def test_wordnet_ids_are_matched_with_the_words_for_them() -> None:
    ids, words = ["n02102040", "n01440764"], ["tench", "English springer", "church"]
    assert match_classes(words, ids, 3).label_map == (1, 0)
    match = match_classes([*ids, "n03028079"], ["Church", "tench"], 3)
    assert (match.label_map, match.order) == ((2, 1), "names")
    with pytest.raises(DataError, match="they differ"):
        match_classes(words, ["n01440764", "n00000001"], 3)


def test_a_number_that_names_one_output_is_not_the_index_of_another() -> None:
    counted_from_1 = [str(number) for number in range(1, 11)]
    with pytest.raises(DataError, match="they differ"):
        match_classes(counted_from_1, [str(number) for number in range(10)], 10)
    assert match_classes(counted_from_1, ["10", "2"], 10).label_map == (9, 1)
    assert match_classes(["tench", "church"], ["0", "1"], 2).label_map == (0, 1)
