"""What the tests of several tasks share."""

import functools
from collections.abc import Callable

import pytest
from datasets import Dataset

from hubmodels.data import Columns, encode_dataset
from hubmodels.tasks import AnyProblem


@pytest.fixture(scope="session")
def encode_rows() -> Callable[[AnyProblem, Dataset], Columns]:
    """Encode selected rows with a problem, as the straight line does."""

    def encode(problem: AnyProblem, rows: Dataset) -> Columns:
        return encode_dataset(
            rows,
            functools.partial(problem.encode, features=rows.features),
            features=problem.encoded_features(),
            key=problem.cache_key(),
            description="Encoding",
        )

    return encode
