"""What is no cluster's address is refused before Ray is asked, and what Ray raises is told in a line."""

import socket
import time

import pytest

from ranker.cluster.address import check_address, said_of
from ranker.errors import DataError, SetupError


def test_where_nobody_answers_nobody_is_waited_for():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        started = time.monotonic()
        refused = f"^--cluster {address}: does not answer: .*; expected the head of a Ray cluster\\.$"
        with pytest.raises(SetupError, match=refused):
            check_address(address)
    assert time.monotonic() - started < 15


@pytest.mark.parametrize("host", ["head..example", "h" * 64])
def test_a_host_that_none_can_be_called_does_not_answer(host):
    with pytest.raises(SetupError, match=f"^--cluster {host}:6379: does not answer: "):
        check_address(f"{host}:6379")


@pytest.mark.parametrize("address", ["somewhere", "ray://head:10001", "head:", ":6379", "head:port"])
def test_what_is_no_address_is_refused(address):
    refused = f"^--cluster {address}: is no address, expected local, auto or HOST:PORT\\.$"
    with pytest.raises(SetupError, match=refused):
        check_address(address)


def test_where_somebody_answers_ray_is_asked():
    with socket.create_server(("127.0.0.1", 0)) as head:
        check_address(f"127.0.0.1:{head.getsockname()[1]}")


@pytest.mark.parametrize("address", ["local", "auto"])
def test_a_cluster_that_ray_finds_by_itself_is_not_looked_for(address):
    check_address(address)


TOKEN = "AuthenticationError: RPC error: InvalidAuthToken: Authentication token is missing or incorrect."
UNAUTHORISED = f"Failed to connect to GCS. Last connection error: Traceback:\n  File somewhere\n{TOKEN}\n"
UNBEGUN = """The actor died because of an error raised in its creation task, ray::MapWorker.__init__() (pid=7)
  File "somewhere.py", line 1, in __init__
ModuleNotFoundError: No module named 'ranker'
"""


def raise_both(error, reason):
    try:
        raise reason
    except type(reason) as caught:
        raise error from caught


@pytest.mark.parametrize(
    ("error", "reason", "said"),
    [
        (ConnectionError("Failed to connect."), RuntimeError(UNAUTHORISED), f"Failed to connect: {TOKEN}"),
        (RuntimeError("\nis full.\nDo this."), RuntimeError("frames"), "is full."),
        (RuntimeError(UNBEGUN), RuntimeError("frames"), "ModuleNotFoundError: No module named 'ranker'."),
        (RuntimeError(), RuntimeError("frames"), "RuntimeError."),
    ],
)
def test_what_ray_raises_is_told_in_a_line_that_has_the_reason(error, reason, said):
    with pytest.raises(SetupError) as caught, said_of("head:6379"):
        raise_both(error, reason)
    assert str(caught.value) == f"--cluster head:6379: {said}"


def test_a_sentence_of_our_own_stays_what_it_is():
    with pytest.raises(DataError, match=r"^data: is wrong\.$"), said_of("local"):
        raise_both(DataError("data: is wrong."), RuntimeError("frames"))
