"""A model, a gallery, and an index of it: made once for a file of tests."""

import shutil

import pytest
from indexed_images import QUICK, make_net, write_gallery

from covtool.indexing.building import IndexRequest, build_index


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return make_net(tmp_path_factory.mktemp("net"))


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return write_gallery(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def made(net, people, tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "g.index"
    build_index(IndexRequest(source=net, images=(people,), output=path, **QUICK))
    return path


@pytest.fixture
def gallery(made, tmp_path):
    """Copy the index into the test's own folder."""
    return shutil.copy(made, tmp_path / "g.index")
