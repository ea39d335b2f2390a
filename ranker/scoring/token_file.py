"""A collection's token ids on disk: tokenized once for each tokenizer, memory-mapped ever after."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ranker.data.collection import Collection
from ranker.errors import DataError, OutputError
from ranker.files.atomic import atomic_folder, cache_folder
from ranker.files.digests import read_sealed_folder, seal_folder
from ranker.files.locks import build_lock
from ranker.model.inputs import positions_in_groups
from ranker.progress import Advance, no_progress
from ranker.scoring.text import TextEncoding
from ranker.scoring.tokens import TEXTS_AT_ONCE, Rows, Texts, rust_tokenizer

_SMALL: Final = 2**16
"""Vocabularies below it fit two bytes an id, which halves the file: BERT's has 30,522."""

_DTYPES: Final = ("uint16", "int32", "int64")

_META: Final = "meta.json"

_GATHERED_AT_ONCE: Final = 2**22
"""Tokens whose indices are worked out at once, so that gathering takes little memory beside its result."""

_WORTH_IT: Final = 0.5
"""The share of a collection to be read from which all of it is tokenized: at most twice the work, done once."""


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
        """Number of passages."""
        return len(self._offsets) - 1

    def texts(self, rows: Rows, length: int, keeps_end: bool = False) -> Texts:
        """Gives the first ``length`` tokens of passages, or the last, as if they were tokenized now.

        Shape: rows (texts,), indices in the collection's file.
        """
        starts = self._offsets[rows]
        whole = self._offsets[rows + 1] - starts
        kept = np.minimum(whole, length)
        starts = starts + (whole - kept) * keeps_end
        offsets = np.concatenate(([0], np.cumsum(kept)))
        ids = np.empty(int(offsets[-1]), dtype=np.int32)
        for first, last in _slices(offsets):
            lengths = kept[first:last]
            tokens = np.repeat(starts[first:last], lengths) + positions_in_groups(lengths)  # indices in the file
            ids[offsets[first] : offsets[last]] = self._ids[tokens]
        return Texts(ids, offsets, whole - kept)


def token_folder(encoding: TextEncoding, collection: Collection) -> Path:
    """Names the folder of a collection's tokens, whether it is there or not."""
    key = hashlib.sha256(f"{collection.digest}|{encoding.digest}".encode()).hexdigest()[:24]
    return cache_folder() / "tokens" / key


def build_token_file(encoding: TextEncoding, collection: Collection, advance: Advance = no_progress) -> TokenFile:
    """Opens a collection's tokens, or makes them where there are none, in memory that does not grow with it.

    Raises: OutputError where the cache cannot be written; DataError where the collection changes meanwhile.
    """
    folder = token_folder(encoding, collection)
    with build_lock(folder):  # another process may have made them meanwhile
        tokens = _open_whole(folder, collection)
        if tokens is None:
            with atomic_folder(folder, force=True) as temporary:
                _write(encoding, collection, temporary, advance)
                collection.check_unchanged()  # the folder is named by the digest of what was read
            tokens = TokenFile(folder)
    return tokens


def find_token_file(encoding: TextEncoding, collection: Collection) -> TokenFile | None:
    """Opens a collection's tokens where they have been made and are whole."""
    return _open_whole(token_folder(encoding, collection), collection)


def keep_token_file(
    encoding: TextEncoding,
    collection: Collection,
    passages: int,
    progress: Callable[[int, str], AbstractContextManager[Advance]],
) -> None:
    """Makes the collection's token file, where so many of its passages are about to be read that it pays.

    ``progress`` is given the number of passages and their unit.
    """
    if passages < _WORTH_IT * len(collection) or find_token_file(encoding, collection) is not None:
        return
    # a cache that cannot be written costs time, here and in what is read after
    with suppress(OutputError), progress(len(collection), "passage") as advance:
        build_token_file(encoding, collection, advance)


def encode_passages(encoding: TextEncoding, collection: Collection, doc_ids: Sequence[str]) -> Texts:
    """Encodes passages of a collection, from its token file where it has one.

    Raises: KeyError for a doc_id that the collection has not.
    """
    tokens = find_token_file(encoding, collection)
    if tokens is None:
        return encoding.passages(collection[doc_id].contents for doc_id in doc_ids)
    rows = np.fromiter(map(collection.number, doc_ids), dtype=np.int64, count=len(doc_ids))
    texts = tokens.texts(rows, encoding.passage_length, encoding.template.keeps_end)
    encoding.unknown["passages"].count(
        texts, lambda index: encoding.prepare_passage(collection[doc_ids[index]].contents)
    )
    return texts


def _open_whole(folder: Path, collection: Collection) -> TokenFile | None:
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        tokens = TokenFile(folder)
        if len(tokens) == len(collection):
            return tokens
    return None


def _write(encoding: TextEncoding, collection: Collection, folder: Path, advance: Advance) -> None:
    backend = rust_tokenizer(encoding.tokenizer)
    dtype = np.dtype(np.uint16 if backend.get_vocab_size(with_added_tokens=True) <= _SMALL else np.int32)
    end = count = 0
    with (folder / "ids").open("wb") as ids, (folder / "offsets").open("wb") as offsets:
        offsets.write(np.int64(0).tobytes())
        for chunk in _chunks(encoding.prepare_passage(passage.contents) for passage in collection):
            encoded = [tokens.ids for tokens in backend.encode_batch_fast(chunk, add_special_tokens=False)]
            ends = end + np.cumsum([len(text_ids) for text_ids in encoded], dtype=np.int64)
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


def _slices(offsets: Rows) -> Iterator[tuple[int, int]]:
    """Yields slices of texts that hold about ``_GATHERED_AT_ONCE`` tokens each."""
    first, texts = 0, len(offsets) - 1
    while first < texts:
        last = int(np.searchsorted(offsets, offsets[first] + _GATHERED_AT_ONCE, side="right")) - 1
        last = min(max(last, first + 1), texts)
        yield first, last
        first = last


def _mapped(path: Path, dtype: str, count: int) -> NDArray[Any]:
    """Maps a file of ``count`` numbers as an array; an empty file cannot be mapped."""
    if dtype not in _DTYPES or path.stat().st_size != count * np.dtype(dtype).itemsize:
        raise ValueError(f"{path} is not of {count} numbers of type {dtype}")
    return np.empty(0, dtype=dtype) if count == 0 else np.asarray(np.memmap(path, dtype=dtype, mode="r"))
