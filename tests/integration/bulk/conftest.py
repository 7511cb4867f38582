"""What the tests of many photos share."""

import random

import pytest


@pytest.fixture
def seed() -> int:
    """Of what fails and in which order; printed where a test fails."""
    chosen = random.randrange(2**32)
    print(f"seed {chosen}")
    return chosen
