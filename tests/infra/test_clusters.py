"""What the cluster files promise: spot first, on demand as a bounded stand-in, a head that does no work."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from .conftest import ROOT


def node_types(name: str) -> dict[str, dict[str, Any]]:
    config = yaml.safe_load((ROOT / "cluster" / f"{name}.yaml").read_text())
    return dict(config["available_node_types"])


def is_spot(node: dict[str, Any]) -> bool:
    """By the launch request itself, not by what the file calls it."""
    request = node["node_config"]
    market = request.get("InstanceMarketOptions", {}).get("MarketType")
    return bool(market == "spot" or request.get("scheduling", {}).get("provisioningModel") == "SPOT")


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_on_demand_stands_in_for_spot_and_is_bounded(name: str) -> None:
    gpus = {kind: node for kind, node in node_types(name).items() if node["resources"].get("GPU")}
    spot = [node for node in gpus.values() if is_spot(node)]
    (on_demand,) = (node for node in gpus.values() if not is_spot(node))
    assert len(spot) >= 2
    for node in spot:
        assert {k: node["resources"][k] for k in ("CPU", "GPU")} == {
            k: on_demand["resources"][k] for k in ("CPU", "GPU")
        }
        assert node["labels"]["gpu"] == on_demand["labels"]["gpu"]
        assert node["priority"] > on_demand["priority"]
        assert node["max_workers"] > on_demand["max_workers"]
    for node in gpus.values():
        assert (node["labels"]["market"] == "spot") == is_spot(node) == ("market_spot" in node["resources"])


@pytest.mark.parametrize("name", ["aws", "gcp", "local"])
def test_the_head_does_no_work_and_nothing_else_runs_for_nobody(name: str) -> None:
    config = yaml.safe_load((ROOT / "cluster" / f"{name}.yaml").read_text())
    types = node_types(name)
    assert types[config["head_node_type"]]["resources"]["CPU"] == 0
    assert not is_spot(types[config["head_node_type"]])
    if name != "local":
        assert all(node.get("min_workers", 0) == 0 for node in types.values())
    assert config["idle_timeout_minutes"] > 0
    assert config["max_workers"] > 0


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_containers_on_gpu_nodes_ask_for_the_gpus_and_no_others_do(name: str) -> None:
    """What NVIDIA's runtime reads; where it is the default and finds no GPU, a container that asks does not start."""
    config = yaml.safe_load((ROOT / "cluster" / f"{name}.yaml").read_text())
    for node in node_types(name).values():
        options = [*config["docker"]["run_options"], *node.get("docker", {}).get("worker_run_options", ())]
        asked = dict(option.removeprefix("--env ").partition("=")[::2] for option in options if "NVIDIA" in option)
        wanted = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
        assert asked == (wanted if node["resources"].get("GPU") else {})


def test_the_head_on_aws_gets_the_boto3_that_fits_our_botocore() -> None:
    (botocore,) = re.findall(r"(?m)^botocore==(.+)$", (ROOT / "constraints.txt").read_text())
    config = yaml.safe_load((ROOT / "cluster" / "aws.yaml").read_text())
    assert config["head_setup_commands"] == [f"pip install boto3=={botocore}"]


def test_a_worker_on_aws_may_touch_one_bucket_and_nothing_else() -> None:
    policy = json.loads((ROOT / "cluster" / "iam" / "worker.json").read_text())
    assert {a.split(":")[0] for s in policy["Statement"] for a in s["Action"]} == {"s3"}
    assert {s["Resource"].removesuffix("/*") for s in policy["Statement"]} == {"arn:aws:s3:::raytrain-example"}
