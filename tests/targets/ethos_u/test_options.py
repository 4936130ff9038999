from __future__ import annotations

import pytest
from pydantic import ValidationError

from intaglio.targets.ethos_u.options import EthosUConfig


def test_what_is_not_given_is_left_to_vela():
    assert EthosUConfig().arguments() == [
        "--accelerator-config",
        "ethos-u55-128",
        "--optimise",
        "Performance",
    ]


def test_everything_given_becomes_an_argument():
    config = EthosUConfig(
        accelerator="ethos-u85-256",
        config="chip.ini",
        system_config="Mine",
        memory_mode="Shared",
        optimise="Size",
        arena_cache_size=4096,
    )
    given = dict(zip(config.arguments()[::2], config.arguments()[1::2], strict=True))
    assert given == {
        "--accelerator-config": "ethos-u85-256",
        "--optimise": "Size",
        "--config": "chip.ini",
        "--system-config": "Mine",
        "--memory-mode": "Shared",
        "--arena-cache-size": "4096",
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"accelerator": "ethos-u55-512"},
        {"arena_cache_size": 0},
        {"timeout": 0},
        {"speed": 3},
        {"via": "onnx"},
    ],
)
def test_values_and_names_that_are_wrong_are_refused(wrong):
    with pytest.raises(ValidationError):
        EthosUConfig(**wrong)
