"""A collection's token ids on disk: tokenised once for each tokenizer, memory-mapped ever after."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ranker.data.collection import Collection
from ranker.errors import DataError
from ranker.files.atomic import atomic_folder, cache_folder
from ranker.files.digests import read_sealed_folder, seal_folder
from ranker.files.locks import build_lock
from ranker.scoring.text import TEXTS_AT_ONCE, Texts, backend_of

_FORMAT: Final = 2

_SMALL: Final = 2**16
"""Vocabularies below it fit two bytes an id, which halves the file: BERT's has 30,522."""

_DTYPES: Final = ("uint16", "int32", "int64")

_META: Final = "meta.json"

_GATHERED_AT_ONCE: Final = 2**22
"""Tokens whose places are worked out at once, so that gathering takes little memory beside its result."""


@dataclass(frozen=True)
class TextEncoding:
    """How a model's tokenizer comes to its ids; ``read`` is what is done to a text before, ``name`` says what."""

    tokenizer: Any
    name: str
    read: Callable[[str], str]

    @property
    def digest(self) -> str:
        """SHA-256 of all that an id depends on, beside the text."""
        return hashlib.sha256(f"{_FORMAT}|{self.name}|{backend_of(self.tokenizer).to_str()}".encode()).hexdigest()


class TokenFile:
    """The ids of every passage of a collection, whole and without markers, in file order.

    Shape: ids (tokens,), offsets (passages + 1,).
    """

    def __init__(self, folder: Path) -> None:
        """Use ``find_token_file``.

        Raises: OSError, ValueError, KeyError or TypeError for a folder that is not as it was written.
        """
        meta = read_sealed_folder(folder, _META)
        self._ids = _mapped(folder / "ids", meta["dtype"], meta["tokens"])
        self._offsets = _mapped(folder / "offsets", "int64", meta["passages"] + 1)
        if self._offsets[-1] != meta["tokens"]:
            raise ValueError("the offsets are not those of the ids")

    def __len__(self) -> int:
        """How many passages there are."""
        return len(self._offsets) - 1

    def texts(self, numbers: NDArray[np.int64], most: int, keeps_end: bool = False) -> Texts:
        """The first ``most`` tokens of the passages of these numbers, or the last, as if they were tokenised now.

        Shape: numbers (texts,), places in the collection's file.
        """
        starts = self._offsets[numbers]
        whole = self._offsets[numbers + 1] - starts
        kept = np.minimum(whole, most)
        starts = starts + (whole - kept) * keeps_end
        offsets = np.concatenate(([0], np.cumsum(kept)))
        ids = np.empty(int(offsets[-1]), dtype=np.int32)
        for first, last in _stretches(offsets):
            length = kept[first:last]
            within = np.arange(int(offsets[last] - offsets[first])) - np.repeat(
                offsets[first:last] - offsets[first], length
            )
            ids[offsets[first] : offsets[last]] = self._ids[np.repeat(starts[first:last], length) + within]
        return Texts(ids, offsets, whole - kept)


def token_folder(reading: TextEncoding, collection: Collection) -> Path:
    """Where the tokens of a collection lie, or would."""
    key = hashlib.sha256(f"{collection.digest}|{reading.digest}".encode()).hexdigest()[:24]
    return cache_folder() / "tokens" / key


def build_token_file(reading: TextEncoding, collection: Collection, advance: Callable[[int], object]) -> TokenFile:
    """The collection's tokens; they are made where they are not there yet, in memory that does not grow with it.

    Raises: OutputError where the cache cannot be written; DataError where the collection changes meanwhile.
    """
    folder = token_folder(reading, collection)
    with build_lock(folder):  # who waited for another to make them finds them made
        found = _opened(folder, collection)
        if found is None:
            with atomic_folder(folder, force=True) as beside:
                _write(reading, collection, beside, advance)
                collection.check_unchanged()  # what is kept is found by the digest of what was read
            found = TokenFile(folder)
    return found


def find_token_file(reading: TextEncoding, collection: Collection) -> TokenFile | None:
    """The collection's tokens, where they have been made and are whole."""
    return _opened(token_folder(reading, collection), collection)


def _opened(folder: Path, collection: Collection) -> TokenFile | None:
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        found = TokenFile(folder)
        if len(found) == len(collection):
            return found
    return None


def _write(reading: TextEncoding, collection: Collection, folder: Path, advance: Callable[[int], object]) -> None:
    backend = backend_of(reading.tokenizer)
    dtype = np.dtype(np.uint16 if backend.get_vocab_size(with_added_tokens=True) <= _SMALL else np.int32)
    end = count = 0
    with (folder / "ids").open("wb") as ids, (folder / "offsets").open("wb") as offsets:
        offsets.write(np.int64(0).tobytes())
        for chunk in _chunks(reading.read(passage.contents) for passage in collection):
            encoded = [encoding.ids for encoding in backend.encode_batch_fast(chunk, add_special_tokens=False)]
            ends = end + np.cumsum([len(one) for one in encoded], dtype=np.int64)
            ids.write(np.fromiter(chain.from_iterable(encoded), dtype=dtype).tobytes())
            offsets.write(ends.tobytes())
            end, count = int(ends[-1]), count + len(chunk)
            advance(len(chunk))
    if count != len(collection):
        raise DataError(f"{collection.path}: has changed since it was opened; open it again.")
    seal_folder(folder, _META, {"dtype": dtype.name, "passages": count, "tokens": end})


def _chunks(texts: Iterator[str]) -> Iterator[list[str]]:
    while chunk := list(islice(texts, TEXTS_AT_ONCE)):
        yield chunk


def _stretches(offsets: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Runs of texts that hold about ``_GATHERED_AT_ONCE`` tokens each."""
    first, texts = 0, len(offsets) - 1
    while first < texts:
        last = int(np.searchsorted(offsets, offsets[first] + _GATHERED_AT_ONCE, side="right")) - 1
        last = min(max(last, first + 1), texts)
        yield first, last
        first = last


def _mapped(path: Path, dtype: str, count: int) -> NDArray[Any]:
    """A file of so many numbers as an array; an empty one cannot be mapped."""
    if dtype not in _DTYPES or path.stat().st_size != count * np.dtype(dtype).itemsize:
        raise ValueError(f"{path} is not of {count} numbers of type {dtype}")
    return np.empty(0, dtype=dtype) if count == 0 else np.asarray(np.memmap(path, dtype=dtype, mode="r"))
