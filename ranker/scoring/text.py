"""Texts as token ids: each text is tokenised once, and pairs are put together from ids, never from text again."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ranker.model.inputs import MARKER, PASSAGE, QUERY, Ids, Input

S = TypeVar("S", list[int], Ids)

TEXTS_AT_ONCE = 2_048
"""Texts handed to the tokenizer in one call, which spreads them over all cores."""


@dataclass(frozen=True)
class Texts:
    """Token ids of many texts, without markers, end to end.

    Shape: ids (tokens,) int32, offsets (texts + 1,) int64, lost (texts,) int64: tokens cut from each.
    """

    ids: Ids
    offsets: NDArray[np.int64]
    lost: NDArray[np.int64]

    def __len__(self) -> int:
        """How many texts there are."""
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> Ids:
        """The ids of one text."""
        return self.ids[self.offsets[number] : self.offsets[number + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text."""
        return np.diff(self.offsets)

    def only(self, numbers: NDArray[np.int64]) -> "Texts":
        """The texts of these numbers."""
        offsets = np.concatenate(([0], np.cumsum(self.lengths[numbers])))
        ids = [self[number] for number in numbers]
        return Texts(np.concatenate([self.ids[:0], *ids]), offsets, self.lost[numbers])


class Template:
    """How a tokenizer marks texts and pairs, learned from its own output, so that it holds for any of them.

    Without ``markers`` texts are put together as they are. Segments are 0 where the tokenizer gives a model none, and
    of a text that is too long its end is kept where the tokenizer cuts on the left.
    """

    def __init__(self, tokenizer: Any, markers: bool = True) -> None:  # noqa: ANN401  # no annotated base is shared
        backend = backend_of(tokenizer)
        pair, single = backend.encode("a", "b"), backend.encode("a")
        segments = "token_type_ids" in tokenizer.model_input_names
        self.pair_parts = _markers(pair, (0, 1), markers, segments)
        self.single_parts = _markers(single, (0,), markers, segments)
        self.pair_segments = tuple(_segment(pair, sequence) * segments for sequence in (0, 1))
        self.single_segment = _segment(single, 0) * segments
        self.keeps_end = cuts_start(tokenizer)
        self.pad_id = int(tokenizer.pad_token_id or 0)

    @property
    def pair_markers(self) -> int:
        """Tokens that a pair has beside its two texts."""
        return sum(len(part.ids) for part in self.pair_parts)

    @property
    def single_markers(self) -> int:
        """Tokens that a text read alone has beside its own."""
        return sum(len(part.ids) for part in self.single_parts)

    def pair(self, query: Ids, passage: Ids) -> Input:
        """The input of a pair read together."""
        start, middle, end = self.pair_parts
        first, second = self.pair_segments
        return _joined(start, _in(query, first, QUERY), middle, _in(passage, second, PASSAGE), end)

    def single(self, text: Ids) -> Input:
        """The input of a text read alone."""
        start, end = self.single_parts
        return _joined(start, _in(text, self.single_segment, QUERY), end)


def cuts_start(tokenizer: Any) -> bool:  # noqa: ANN401
    """Whether a text that is too long loses its beginning, not its end."""
    return bool(tokenizer.truncation_side == "left")


def kept_of(ids: S, most: int, keeps_end: bool) -> S:
    """The first ``most`` of the ids of a text, or the last."""
    return ids[max(0, len(ids) - most) :] if keeps_end else ids[:most]


Seen = Callable[[Texts, Callable[[int], str]], object]
"""Is told of texts, as many as are tokenised at once, and can ask what one of them was made of."""


def tokenize(tokenizer: Any, texts: Iterable[str], most: int, seen: Seen = lambda *_: None) -> Texts:  # noqa: ANN401
    """The first ``most`` tokens of each text, the last where the tokenizer cuts on the left, and how many are lost."""
    backend, keeps_end = backend_of(tokenizer), cuts_start(tokenizer)
    remaining = iter(texts)
    parts: list[Texts] = []
    while chunk := list(islice(remaining, TEXTS_AT_ONCE)):
        encoded = [encoding.ids for encoding in backend.encode_batch_fast(chunk, add_special_tokens=False)]
        whole = np.array([len(ids) for ids in encoded], dtype=np.int64)
        kept = np.minimum(whole, most)
        ids = np.fromiter((i for ids in encoded for i in kept_of(ids, most, keeps_end)), dtype=np.int32)
        parts.append(Texts(ids, np.concatenate(([0], np.cumsum(kept))), whole - kept))
        seen(parts[-1], chunk.__getitem__)
    return _end_to_end(parts)


def _end_to_end(parts: Sequence[Texts]) -> Texts:
    none = np.empty(0, dtype=np.int64)
    lengths = np.concatenate([none, *(part.lengths for part in parts)])
    ids = np.concatenate([np.empty(0, dtype=np.int32), *(part.ids for part in parts)])
    lost = np.concatenate([none, *(part.lost for part in parts)])
    return Texts(ids, np.concatenate(([0], np.cumsum(lengths))), lost)


def backend_of(tokenizer: Any) -> Any:  # noqa: ANN401
    """The Rust tokenizer, told not to cut or pad: a ``tokenizer.json`` may bring such settings along."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return backend


def _in(ids: Ids, segment: int, part: int) -> Input:
    return Input(ids, np.full_like(ids, segment), np.full_like(ids, part))


def _joined(*inputs: Input) -> Input:
    return Input(*(np.concatenate(columns) for columns in zip(*inputs, strict=True)))


def _segment(encoding: Any, sequence: int) -> int:  # noqa: ANN401
    return int(encoding.type_ids[encoding.sequence_ids.index(sequence)])


def _markers(encoding: Any, sequences: tuple[int, ...], wanted: bool, segments: bool) -> list[Input]:  # noqa: ANN401
    """The markers before the first text, between two, and behind the last; none of them where they are not wanted."""
    if not wanted:
        return [Input(_ids([]), _ids([]), _ids([]))] * (len(sequences) + 1)
    owners = encoding.sequence_ids
    cuts = [0]
    for sequence in sequences:
        cuts += [owners.index(sequence), len(owners) - owners[::-1].index(sequence)]
    cuts.append(len(owners))
    bounds = zip(cuts[::2], cuts[1::2], strict=True)
    kinds = [kind * segments for kind in encoding.type_ids]
    return [Input(_ids(encoding.ids[a:b]), _ids(kinds[a:b]), _ids([MARKER] * (b - a))) for a, b in bounds]


def _ids(numbers: list[int]) -> Ids:
    return np.array(numbers, dtype=np.int32)
