import pytest
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
