import pytest

from covtool.errors import DataError
from covtool.evaluation import match_classes


def test_classes_are_matched_by_name_whatever_their_order() -> None:
    match = match_classes(["c", "a", "b"], ["a", "b", "c"], 3)
    assert (match.names, match.label_map, match.note) == (("c", "a", "b"), (1, 2, 0), None)


def test_data_with_some_of_the_classes_will_do() -> None:
    match = match_classes(["a", "b", "c"], ["b", "c"], 3)
    assert match.label_map == (1, 2)
    assert match.note == "The data has 2 of the model's 3 classes."


def test_a_class_that_the_model_lacks_is_refused_with_both_lists() -> None:
    with pytest.raises(DataError, match=r"(?s)Model: a, b\. Data: a, z\..*own classes"):
        match_classes(["a", "b"], ["a", "z"], 2)


def test_a_model_without_names_is_taken_in_sorted_order_and_says_so() -> None:
    match = match_classes(None, ["a", "b"], 2)
    assert (match.names, match.label_map) == (("a", "b"), (0, 1))
    assert "does not name its classes" in match.note
    with pytest.raises(DataError, match="5 classes without names, the data set 2"):
        match_classes(None, ["a", "b"], 5)


def test_wordnet_ids_are_imagenets_indices() -> None:
    match = match_classes(None, ["n01440764", "n02102040", "n03888257"], 1000)
    assert match.label_map == (0, 217, 701)
    assert match.names[217].startswith("n02102040 English springer")
    with pytest.raises(DataError, match="1 WordNet ids are not among ImageNet's 1000: n00000001"):
        match_classes(None, ["n00000001"], 1000)
