"""Records on disk: appended, found again, and no worse for a crash, a flipped bit or a neighbour."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranker.scoring.cache import RecordFile, pair_keys, text_keys
from ranker.scoring.tokens import Texts

WIDTH = 3
RECORD = 16 + 4 * WIDTH + 8
IN_A_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


def keys_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, size=(count, 2), dtype=np.uint64)


def values_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)


def filled(path: Path, count: int = 10, seed: int = 0) -> None:
    RecordFile(path, WIDTH).add(keys_of(count, seed), values_of(count, seed))


def texts_of(lists: list[list[int]]) -> Texts:
    offsets = np.concatenate(([0], np.cumsum([len(one) for one in lists]))).astype(np.int64)
    ids = np.array([word for one in lists for word in one], dtype=np.int32)
    return Texts(ids, offsets, np.zeros(len(lists), dtype=np.int64))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "below" / "records"


def test_what_was_added_is_found_to_the_bit(path):
    filled(path)
    store = RecordFile(path, WIDTH)
    places = store.find(keys_of(10))
    assert store.count == 10
    assert (places >= 0).all()
    assert store.values(places).tobytes() == values_of(10).tobytes()


def test_what_was_not_added_is_not_found(path):
    filled(path)
    assert (RecordFile(path, WIDTH).find(keys_of(10, seed=1)) == -1).all()
    assert (RecordFile(path.parent / "none", WIDTH).find(keys_of(2)) == -1).all()


def test_half_of_a_key_is_not_enough(path):
    filled(path)
    near = keys_of(10)
    near[:, 1] += np.uint64(1)
    assert (RecordFile(path, WIDTH).find(near) == -1).all()


def test_what_came_first_of_a_key_is_its_answer(path):
    filled(path)
    RecordFile(path, WIDTH).add(keys_of(10), values_of(10, seed=1))
    store = RecordFile(path, WIDTH)
    assert store.count == 20
    assert (store.values(store.find(keys_of(10))) == values_of(10)).all()


def test_only_records_before_a_number_may_be_asked_for(path):
    filled(path)
    filled(path, seed=1)
    store = RecordFile(path, WIDTH)
    assert (store.find(keys_of(10), before=10) >= 0).all()
    assert (store.find(keys_of(10, seed=1), before=10) == -1).all()
    assert (store.find(keys_of(10, seed=1), before=20) >= 0).all()


@IN_A_FOLDER
@given(size=st.integers(0, 10 * RECORD))
def test_a_file_cut_anywhere_keeps_what_lies_before_and_takes_more(tmp_path, size):
    path = tmp_path / "records"
    path.unlink(missing_ok=True)
    filled(path)
    with path.open("r+b") as file:
        file.truncate(size)
    whole = size // RECORD
    assert (RecordFile(path, WIDTH).find(keys_of(10)) >= 0).tolist() == [True] * whole + [False] * (10 - whole)
    filled(path, seed=1)
    store = RecordFile(path, WIDTH)
    assert store.count == whole + 10
    assert (store.values(store.find(keys_of(10, seed=1))) == values_of(10, seed=1)).all()


@IN_A_FOLDER
@given(bit=st.integers(0, 8 * 10 * RECORD - 1))
def test_a_flipped_bit_costs_one_record_and_is_never_believed(tmp_path, bit):
    path = tmp_path / "records"
    path.unlink(missing_ok=True)
    filled(path)
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    found = RecordFile(path, WIDTH).find(keys_of(10)) >= 0
    assert found.tolist() == [number != bit // 8 // RECORD for number in range(10)]


def test_processes_that_append_at_once_lose_nothing(path):
    script = (
        "import sys; from pathlib import Path; import numpy as np; from ranker.scoring.cache import RecordFile\n"
        "number = int(sys.argv[2]); store = RecordFile(Path(sys.argv[1]), 3)\n"
        "for turn in range(200):\n"
        "    store.add(np.array([[1000 * number + turn, turn]], np.uint64), np.full((1, 3), turn, np.float32))\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", script, str(path), str(number)]) for number in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    store = RecordFile(path, WIDTH)
    keys = np.array([[1000 * number + turn, turn] for number in range(3) for turn in range(200)], dtype=np.uint64)
    assert store.count == 600
    assert store.values(store.find(keys))[:, 0].tolist() == [turn for _ in range(3) for turn in range(200)]


@pytest.mark.parametrize("blocked", ["a file where the folder is to be", "a folder where the file is to be"])
def test_where_nothing_can_be_written_nothing_is_kept_and_nothing_said(path, blocked, capsys):
    if blocked.startswith("a folder"):
        path.mkdir(parents=True)
    else:
        path.parent.write_text("")
    filled(path)
    assert RecordFile(path, WIDTH).count == 0
    assert capsys.readouterr() == ("", "")


def test_equal_texts_have_equal_keys_and_others_do_not():
    keys = text_keys(texts_of([[1, 2], [2, 1], [1, 2], [], [1]]))
    assert (keys[0] == keys[2]).all()
    assert len({key.tobytes() for key in keys}) == 4


def test_no_pairs_means_no_keys():
    assert text_keys(texts_of([])).shape == (0, 2)
    assert pair_keys(keys_of(0), keys_of(0)).shape == (0, 2)


def test_each_pair_has_a_key_of_its_own():
    queries, passages = keys_of(300), keys_of(1_000, seed=1)
    left, right = np.repeat(queries, 1_000, axis=0), np.tile(passages, (300, 1))
    keys = pair_keys(left, right)
    for half in (0, 1):
        assert len(np.unique(keys[:, half])) == 300_000
    assert not np.isin(pair_keys(right, left)[:, 0], keys[:, 0]).any()
    assert (pair_keys(left[:5], right[:5]) == keys[:5]).all()


@given(st.integers(0, 255))
def test_every_bit_of_both_keys_moves_about_half_of_the_pairs_key(bit):
    query, passage = keys_of(64), keys_of(64, seed=1)
    before = pair_keys(query, passage)
    side, half, place = bit // 128, bit // 64 % 2, bit % 64
    (query, passage)[side][:, half] ^= np.uint64(1) << np.uint64(place)
    for mine, theirs in zip(before.T, pair_keys(query, passage).T, strict=True):
        moved = np.unpackbits(np.ascontiguousarray(mine ^ theirs).view(np.uint8)).mean()
        assert 0.4 < moved < 0.6
