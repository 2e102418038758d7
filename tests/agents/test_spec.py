"""The description of observations as plain data."""

import json
from dataclasses import replace

import pytest

from agents import ObservationSpec


def test_it_survives_json(team_spec):
    spec = ObservationSpec.from_team(team_spec)
    assert ObservationSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_it_says_what_the_team_says(specs):
    spec = ObservationSpec.from_team(specs["smm"])
    assert (spec.env, spec.view, spec.num_agents, spec.num_actions, spec.num_entities) == ("fake/smm", "smm", 3, 5, 7)
    assert spec.shapes == {
        "view": (3, 2),
        "shared": (23, 31, 6),
        "mask": (3,),
        "who": (3,),
        "positions": (7, 2),
        "entity_mask": (7,),
    }
    assert spec.dtypes["shared"] == "uint8"
    assert spec.dtypes["mask"] == "bool"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("shapes"), "the description of an observation has no field 'shapes'"),
        (lambda data: data.pop("env"), "not the description of an observation: .*'env'"),
        (lambda data: data.update(colour="red"), "not the description of an observation: .*'colour'"),
        (lambda data: data.update(shapes=3), "not the description of an observation: "),
        (lambda data: data.update(step_scale=None), "not the description of an observation: "),
        (lambda data: data.update(step_scale=[0.1, 0]), r"^step_scale must be positive, got \(0.1, 0\)$"),
        (lambda data: data.update(num_actions="5"), r"^num_actions must be a whole number, got '5'$"),
        (lambda data: data.update(num_agents=4), r"^the shape of 'mask' is \(3,\), not \(4,\)$"),
        (lambda data: data.update(num_agents=2**40), r"^num_agents must be at least 1 and at most 2147483647, got "),
        (lambda data: data.update(view_vocab=0), r"^view_vocab must be at least 1"),
        (lambda data: data["shapes"].update(view=[3, 2**40]), r"^the shape of 'view' is \(3, 1099511627776\)$"),
        (lambda data: data["dtypes"].update(view="object"), r"^the dtype of 'view' is 'object'$"),
        (lambda data: data["dtypes"].pop("view"), r"^the observation's arrays are view, mask, .*; some are missing$"),
    ],
)
def test_a_description_that_is_none_is_refused(change, message, specs):
    data = ObservationSpec.from_team(specs["layer"]).to_json()
    change(data)
    with pytest.raises(ValueError, match=message):
        ObservationSpec.from_json(data)


def test_differences_name_what_does_not_fit(specs):
    spec = ObservationSpec.from_team(specs["features"])
    assert spec.differences(spec) == []
    assert spec.differences(replace(spec, env="elsewhere", step_scale=(1.0, 2.0))) == []
    other = replace(spec, num_actions=9, view="radar")
    assert spec.differences(other) == [
        "view is 'radar', the network was built for 'features'",
        "num_actions is 9, the network was built for 5",
    ]
    larger = ObservationSpec.from_team(replace(specs["features"], num_agents=4))
    assert spec.differences(larger)[0] == "num_agents is 4, the network was built for 3"
    reshaped = replace(spec, shapes=spec.shapes | {"view": (3, 9), "map": (2, 2)}, dtypes=spec.dtypes | {"who": "int8"})
    assert spec.differences(reshaped) == [
        "shape of 'view' is (3, 9), the network was built for (3, 7)",
        "shape of 'map' is (2, 2), the network was built for None",
        "dtype of 'who' is 'int8', the network was built for 'int16'",
    ]
