"""What timm alone opens."""

import torch
from retrieval_models import make_model, write_model
from safetensors.torch import save_file

import covtool
from covtool.sharing.plain_timm import why_not_plain, why_timm_does_not_open


def test_a_file_of_timms_tensors_and_no_others_is_opened_by_timm(tmp_path):
    net = write_model(tmp_path)
    assert why_timm_does_not_open(covtool.load(net), net) is None


def test_a_tensor_too_many_is_one_that_timm_refuses(tmp_path):
    model = make_model()
    more = {**model.state_dict(), "kept.embeddings": torch.zeros(3, 4)}
    save_file(more, tmp_path / "net.safetensors")
    assert why_not_plain(model) is None
    reason = why_timm_does_not_open(model, tmp_path / "net.safetensors")
    assert "more than weights" in reason


def test_an_eigenlayer_is_named(tmp_path):
    net = write_model(tmp_path, eigenlayer=8)
    assert "Eigenlayer" in why_timm_does_not_open(covtool.load(net), net)
