"""A few faults of the kinds that need no model; `make faults` tries all kinds, many times."""

import pytest
from typer.main import get_command

from clare.cli.app import app
from clare.cli.command import LazyGroup
from clare.pipeline.checks import check
from clare.pipeline.datasets import build
from tests.faults.inputs import check_images, check_lists, check_manifests
from tests.faults.kills import check_kills, works
from tests.faults.world import World


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    group = get_command(app)
    assert isinstance(group, LazyGroup)
    # Imported once, and not in each fork.
    assert group.load("manifest") and build and check
    return World(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize(
    ("try_out", "tries"), [(check_images, 24), (check_lists, 4), (check_manifests, 2)]
)
def test_malformed_files_are_caught_or_read(world, try_out, tries):
    found = try_out(world, tries, 7)
    assert (found.tried, found.failed) == (tries, [])
    assert found.caught and found.caught + found.recovered == tries


def test_killed_work_ends_as_undisturbed_work(world):
    (work,) = (one for one in works(world) if one.name == "manifest build")
    found = check_kills(work, world, 5, 7)
    assert (found.recovered, found.failed) == (5, [])
