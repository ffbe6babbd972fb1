"""A few kills in every slow test run; the whole campaign is `make faults`."""

from __future__ import annotations

import pytest

from tests.faults.campaign import campaign


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_few_kills_leave_the_studies_as_they_were() -> None:
    tally = campaign(kills=4, seed=1)
    assert tally.clean, tally
    assert sum(tally.kills.values()) == 4
