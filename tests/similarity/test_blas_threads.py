"""Tests of numpy's matrix products on one thread."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from threadpoolctl import ThreadpoolController, threadpool_limits

from imgaudit.similarity.blas_threads import one_blas_thread


def _count_threads() -> list[int]:
    return [int(one["num_threads"]) for one in ThreadpoolController().select(internal_api="openblas").info()]


def test_openblas_has_one_thread_for_the_duration_and_then_what_it_had() -> None:
    with threadpool_limits(2, user_api="blas"):
        before, of_torch = _count_threads(), torch.get_num_threads()
        if not before:
            pytest.skip("numpy has another BLAS here")
        with ThreadPoolExecutor(1) as pool, one_blas_thread():
            assert set(_count_threads()) == {1} == set(pool.submit(_count_threads).result())
            assert torch.get_num_threads() == of_torch
        assert _count_threads() == before
        with pytest.raises(ValueError, match="failed"), one_blas_thread():
            raise ValueError("failed")
        assert _count_threads() == before
        assert 2 in before
