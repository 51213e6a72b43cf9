"""The store whose features hold known parts of the truth, and all of its probes."""

import pytest

import clare
from tests.heads.probing.probed_store import QUICK, create_probed


@pytest.fixture(scope="session")
def probed(tmp_path_factory):
    """The store; no test writes to it."""
    return create_probed(tmp_path_factory.mktemp("probed") / "features.zarr")


@pytest.fixture(scope="session")
def found_at(probed, tmp_path_factory):
    """Every probe of it, and the folder that they were written to."""
    folder = tmp_path_factory.mktemp("probes") / "out"
    return clare.probe(probed, folder, test=["gan", "swap"], **QUICK), folder


@pytest.fixture(scope="session")
def found(found_at):
    """Every probe of it."""
    return found_at[0]
