"""Why a model scores a pair as it does: words left out one by one, and where its attention falls."""
