import pytest
from svdnet_training import write_data, write_eigen_model
from toy_data import write_toy_data
from training_runs import make_request


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def asked(data, tmp_path):
    """Make a request: any setting, or fields of the request."""

    def request(**settings):
        return make_request(**{"data": data, "output": tmp_path / "runs", **settings})

    return request


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    """A data set for retrieval; to be left as it is."""
    return write_data(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="session")
def eigen_model(tmp_path_factory):
    """A file of a model with an Eigenlayer."""
    return write_eigen_model(tmp_path_factory.mktemp("eigen"))
