import torch
from hypothesis import given
from hypothesis import strategies as st

from remembev.ops import rank_in_group


@given(st.lists(st.integers(0, 5), max_size=40))
def test_the_rank_is_the_number_of_earlier_elements_of_the_group(group: list[int]) -> None:
    ranks = rank_in_group(torch.tensor(group, dtype=torch.int64)).tolist()
    assert ranks == [group[:index].count(number) for index, number in enumerate(group)]
