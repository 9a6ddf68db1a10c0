"""The images on which most methods are tested: the first 200 of the digits, and their first batch at the beginning of a
training."""

import pytest
from helpers import few_digits, first_batch


@pytest.fixture
def batch():
    return first_batch()


@pytest.fixture(scope="module")
def source():
    return few_digits()
