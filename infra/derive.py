"""Writes the files that follow from others: `python infra/derive.py`.

A Kubernetes rule object from the alert rules, a Prometheus configuration from the code that `raytrain up` uses, and
the table of costs from the cluster files and the price table. Nothing else writes them; infra/validate.py says when
one is stale.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from raytrain.ledger.prices import table
from raytrain.observe.scrape import prometheus_config

ROOT = Path(__file__).parents[1]
COSTS = ("<!-- costs: infra/derive.py -->", "<!-- end of costs -->")


def prometheusrule(root: Path) -> str:
    """dashboards/rules.yml as an object of Prometheus Operator's."""
    rules = yaml.safe_load((root / "dashboards" / "rules.yml").read_text())
    document = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "raytrain"},
        "spec": {"groups": rules["groups"]},
    }
    head = "# Made from dashboards/rules.yml by infra/derive.py.\n"
    return head + yaml.safe_dump(document, sort_keys=False, width=118, allow_unicode=True)


def prometheus(root: Path) -> str:
    """The configuration of infra/compose.yaml's Prometheus, with the password that Prefect asks for."""
    config = yaml.safe_load(
        prometheus_config(
            "exporter:9464",
            "/tmp/ray/prom_metrics_service_discovery.json",
            "http://prefect-server:4200/api",
            "/etc/prometheus/rules.yml",
            alertmanager="alertmanager:9093",
            cluster="compose",
            every_seconds=15,
        )
    )
    for job in config["scrape_configs"]:
        if job["job_name"] == "prefect":
            job["basic_auth"] = {"username": "admin", "password_file": "/etc/prometheus/prefect-password"}
    return "# Made from raytrain.observe.scrape by infra/derive.py.\n" + yaml.safe_dump(config, sort_keys=False)


def readme(root: Path) -> str:
    """cluster/README.md with the table of costs between its two marks."""
    text = (root / "cluster" / "README.md").read_text()
    before, _, rest = text.partition(COSTS[0])
    after = rest.partition(COSTS[1])[2]
    return f"{before}{COSTS[0]}\n{costs(root)}{COSTS[1]}{after}"


def costs(root: Path) -> str:
    """What the cloud clusters cost an hour, node type by node type, in US dollars."""
    instances = table()["instances"]
    lines = ["| file | node type | instance | market | nodes | USD an hour each | all of them | quoted |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for name, key in (("aws", "InstanceType"), ("gcp", "machineType")):
        config = yaml.safe_load((root / "cluster" / f"{name}.yaml").read_text())
        for kind, node in config["available_node_types"].items():
            spot = node.get("labels", {}).get("market") == "spot"
            most = min(node.get("max_workers", 1), config["max_workers"])
            instance = node["node_config"][key]
            row = instances.get(f"{name}/{instance}", {})
            price = row.get("spot_usd_per_hour" if spot else "usd_per_hour")
            cells = [f"{price:.2f}", f"{price * most:.2f}", str(row["date"])] if price is not None else _unknown(row)
            market = "spot" if spot else "on demand"
            lines.append(f"| {name}.yaml | {kind} | {instance} | {market} | {most} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _unknown(row: dict[str, Any]) -> list[str]:
    """No price is guessed; on demand bounds what spot costs."""
    bound = row.get("usd_per_hour")
    return [f"below {bound:.2f}" if bound else "not in our table", "", str(row["date"]) if bound else ""]


DERIVED: dict[str, Callable[[Path], str]] = {
    "infra/k8s/base/prometheusrule.yaml": prometheusrule,
    "infra/prometheus/prometheus.yml": prometheus,
    "cluster/README.md": readme,
}


def main() -> None:
    for name, write in DERIVED.items():
        path, text = ROOT / name, write(ROOT)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"written {name}")


if __name__ == "__main__":
    main()
