"""A real Ray cluster on this machine, and tests whose workers are written beside them."""

from collections.abc import Iterator

import pytest

from ranker.cluster.engine import Cluster, joined


@pytest.fixture(scope="module")
def sent_by_value(request: pytest.FixtureRequest) -> Iterator[None]:
    """The workers of a module of tests are not installed where a worker's process looks for them."""
    ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    ray.cloudpickle.register_pickle_by_value(request.module)
    yield
    ray.cloudpickle.unregister_pickle_by_value(request.module)


@pytest.fixture(scope="module")
def cluster(sent_by_value: None) -> Iterator[Cluster]:
    """Of all tests but those that join one of their own, which come first: a process is in one cluster at a time."""
    with joined("local", 2, "cpu") as found:
        yield found
