"""From a dataset and a run to the set that a training draws from."""

from collections.abc import Mapping

from ranker.data.collection import Collection
from ranker.data.records import Query
from ranker.scoring.scorer import Scorer
from ranker.scoring.token_file import encode_passages
from ranker.training.groups import Candidates
from ranker.training.loop import TrainingSet


def training_set(
    scorer: Scorer, candidates: list[Candidates], queries: Mapping[str, Query], collection: Collection
) -> TrainingSet:
    """Every query and passage of the candidates, tokenised once."""
    query_ids = [one.query_id for one in candidates]
    doc_ids = list(dict.fromkeys(doc_id for one in candidates for doc_id in (*one.positives, *one.negatives)))
    return TrainingSet(
        candidates,
        scorer.queries(queries[query_id].text for query_id in query_ids),
        encode_passages(scorer.encoding, collection, doc_ids),
        {query_id: row for row, query_id in enumerate(query_ids)},
        {doc_id: row for row, doc_id in enumerate(doc_ids)},
    )
