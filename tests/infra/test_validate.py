"""Everything in the tree is valid, and a mistake of each kind is found where it was made."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass

import pytest
import yaml

from .conftest import ROOT, Tree


@dataclass(frozen=True)
class Plant:
    """One mistake: `old` becomes `new` in a file, and the validator must speak of it."""

    file: str
    old: str
    new: str
    said: str
    seen_from: str = ""
    """The file whose check finds it, where that is another one."""


PLANTS = {
    "aws: a key that Ray does not know": Plant(
        "cluster/aws.yaml", "idle_timeout_minutes", "idle_timeout_minute", "idle_timeout_minute"
    ),
    "gcp: a key that Ray does not know": Plant("cluster/gcp.yaml", "max_workers: 2", "max_worker: 2", "max_worker"),
    "onprem: a key that Ray does not know": Plant("cluster/onprem.yaml", "ssh_user:", "sshuser:", "sshuser"),
    "local: a key that Ray does not know": Plant("cluster/local.yaml", "head_node_type:", "head_node:", "head_node"),
    "aws: a head that is no node type": Plant(
        "cluster/aws.yaml", "head_node_type: head", "head_node_type: boss", "must be one of"
    ),
    "onprem: no hosts": Plant(
        "cluster/onprem.yaml", "  worker_ips: [10.0.0.11, 10.0.0.12, 10.0.0.13]\n", "", "worker_ips"
    ),
    "aws: a provider's key": Plant(
        "cluster/aws.yaml", "availability_zone:", "availability_zones:", "availability_zones"
    ),
    "local: a provider's key": Plant("cluster/local.yaml", "launch_multiple:", "launch_many:", "launch_many"),
    "aws: a node_config key": Plant(
        "cluster/aws.yaml", "InstanceMarketOptions: &spot", "MarketOptions: &spot", "MarketOptions"
    ),
    "aws: a node_config value": Plant("cluster/aws.yaml", "MarketType: spot", "MarketType: sport", "sport"),
    "aws: a node_config type": Plant("cluster/aws.yaml", "VolumeSize: 128", 'VolumeSize: "128"', "VolumeSize"),
    "gcp: a node_config key": Plant("cluster/gcp.yaml", "autoDelete: true", "autodelete: true", "autodelete"),
    "gcp: a node_config value": Plant(
        "cluster/gcp.yaml", "provisioningModel: SPOT", "provisioningModel: CHEAP", "CHEAP"
    ),
    "aws: a key in the file": Plant(
        "cluster/aws.yaml", "  cache_stopped", "  aws_credentials: {}\n  cache_stopped", "keys"
    ),
    "iam: a worker that may start machines": Plant(
        "cluster/iam/worker.json", '"s3:ListBucket"', '"ec2:RunInstances"', "ec2:RunInstances"
    ),
    "not YAML": Plant("cluster/aws.yaml", "provider:\n", "provider: [\n", "not YAML"),
    "kuberay: a type": Plant("cluster/kuberay/raycluster.yaml", "maxReplicas: 8", 'maxReplicas: "8"', "maxReplicas"),
    "kuberay: a key": Plant("cluster/kuberay/raycluster.yaml", "minReplicas: 0", "minReplica: 0", "minReplica"),
    "kuberay: a job's key": Plant("cluster/kuberay/rayjob.yaml", "backoffLimit: 3", "backOffLimit: 3", "backOffLimit"),
    "kuberay: deep in a pod": Plant(
        "cluster/kuberay/rayjob.yaml", "containerPort: 6379", "containerport: 6379", "containerport"
    ),
    "kubernetes: a key": Plant("infra/k8s/base/exporter.yaml", "readinessProbe:", "readynessProbe:", "readynessProbe"),
    "kubernetes: a type": Plant("infra/k8s/base/prefect-worker.yaml", "replicas: 1", "replicas: one", "replicas"),
    "kubernetes: a PodMonitor's key": Plant(
        "infra/k8s/base/monitors.yaml", "interval: 15s", "intervall: 15s", "intervall"
    ),
    "kustomize: a file that is not there": Plant(
        "infra/k8s/base/kustomization.yaml", "  - network.yaml", "  - networks.yaml", "networks.yaml"
    ),
    "kustomize: a base that is not there": Plant(
        "infra/k8s/overlays/prod/kustomization.yaml", "[../../base]", "[../../bases]", "bases"
    ),
    "kustomize: a key": Plant("infra/k8s/overlays/dev/kustomization.yaml", "images:", "image:", "image"),
    "kustomize: a patch of nothing": Plant(
        "infra/k8s/overlays/prod/prefect-server.yaml",
        "name: prefect-server\n",
        "name: prefect-servers\n",
        "prefect-server",
        "infra/k8s/overlays/prod/kustomization.yaml",
    ),
    "kustomize: a patch with a key that is none": Plant(
        "infra/k8s/overlays/prod/prefect-server.yaml",
        "limits: {memory: 8Gi}",
        "limit: {memory: 8Gi}",
        "limit",
        "infra/k8s/overlays/prod/kustomization.yaml",
    ),
    "kustomize: an account that is not made": Plant(
        "infra/k8s/base/exporter.yaml",
        "serviceAccountName: raytrain-exporter",
        "serviceAccountName: raytrain-exporters",
        "raytrain-exporters",
        "infra/k8s/overlays/prod/kustomization.yaml",
    ),
    "compose: a key": Plant("infra/compose.yaml", "    healthcheck:\n", "    health_check:\n", "health_check"),
    "compose: a service that is not there": Plant(
        "infra/compose.yaml", "{postgres: {cond", "{postgresql: {cond", "postgresql"
    ),
    "compose: a default password": Plant(
        "infra/compose.yaml",
        "${GRAFANA_PASSWORD:?set GRAFANA_PASSWORD in .env}",
        "${GRAFANA_PASSWORD:-admin}",
        "GRAFANA_PASSWORD",
    ),
    "compose: a variable that the example lacks": Plant(
        "infra/.env.example", "S3_SECRET_KEY=\n", "", "S3_SECRET_KEY", "infra/compose.yaml"
    ),
    "compose: a latest tag": Plant("infra/compose.yaml", "grafana/grafana:11.6.0", "grafana/grafana:latest", "latest"),
    "compose: a port for the world": Plant("infra/compose.yaml", '"127.0.0.1:9090:9090"', '"9090:9090"', "9090"),
    "compose: waits for what has no health": Plant(
        "infra/compose.yaml",
        "depends_on: {ray-head: {condition: service_healthy}}",
        "depends_on: {ray-head: {condition: service_healthy}, ray-worker: {condition: service_healthy}}",
        "ray-worker",
    ),
    "compose: a file that is not there": Plant(
        "infra/compose.yaml", "./alertmanager/alertmanager.yml", "./alert.yml", "alert.yml"
    ),
    "Dockerfile: latest": Plant(
        "infra/docker/raytrain.Dockerfile", "python:3.11.13-slim-bookworm", "python:latest", "DL3007"
    ),
    "Dockerfile: cd": Plant("infra/docker/raytrain.Dockerfile", "RUN if [", "RUN cd /opt && if [", "DL3003"),
    "Dockerfile: root": Plant("infra/docker/raytrain.Dockerfile", "USER 10001:10001", "USER root", "root"),
    "Dockerfile: copies what is not there": Plant(
        "infra/docker/raytrain.Dockerfile", "COPY flows", "COPY flow", "flow is not"
    ),
    "Dockerfile: no instruction": Plant("infra/docker/raytrain.Dockerfile", "WORKDIR /opt", "WORKDIRS /opt", "DL1000"),
    "prometheus: a key": Plant("infra/prometheus/prometheus.yml", "scrape_configs:", "scrape_config:", "scrape_config"),
    "prometheus: changed by hand": Plant(
        "infra/prometheus/prometheus.yml", "exporter:9464", "exporter:9465", "derive.py"
    ),
    "costs: changed by hand": Plant("cluster/README.md", "32.77 | 65.54", "32.77 | 55.54", "derive.py"),
    "alertmanager: a receiver that is none": Plant(
        "infra/alertmanager/alertmanager.yml", "  - name: channel", "  - name: canal", "channel"
    ),
    "alertmanager: a key": Plant("infra/alertmanager/alertmanager.yml", "repeat_interval: 1h", "repeat: 1h", "repeat"),
    "grafana: a key": Plant(
        "infra/grafana/provisioning/datasources/prometheus.yaml", "isDefault", "isdefault", "isdefault"
    ),
    "shell: syntax": Plant("infra/get-prometheus.sh", "\ndone\n", "\ndon\n", "syntax error"),
    "sbatch: syntax": Plant("infra/slurm/pretrain.sbatch", "'{print $1}')", "'{print $1}'", "unexpected"),
    "sbatch: an option": Plant(
        "infra/slurm/pretrain.sbatch", "--ntasks-per-node=1\n#", "--tasks-a-node=1\n#", "tasks-a-node"
    ),
    "sbatch: too late": Plant(
        "infra/slurm/pretrain.sbatch", "#SBATCH --requeue", "true\n#SBATCH --requeue", "first command"
    ),
    "sky: a key": Plant("infra/sky/pretrain.yaml", "use_spot", "spot", "spot"),
    "sky: shell": Plant("infra/sky/pretrain.yaml", "\n  fi\n", "\n", "unexpected end"),
    "prefect: an entrypoint that is not there": Plant(
        "prefect.yaml", "flows/evaluate.py:evaluate", "flows/evaluate.py:evaluation", "evaluation"
    ),
    "prefect: a file that is not there": Plant("prefect.yaml", "flows/sweep.py", "flows/sweeps.py", "sweeps.py"),
    "prefect: a parameter that is not taken": Plant(
        "prefect.yaml", "{snapshot: true}", "{snapshots: true}", "snapshots"
    ),
    "prefect: a key": Plant("prefect.yaml", "concurrency_limit: *one\n", "concurrency: *one\n", "concurrency"),
    "prefect: a cron that is none": Plant("prefect.yaml", '"0 2 * * *"', '"0 26 * * *"', "cron"),
    "prefect: an account that is not made": Plant(
        "prefect.yaml", "service_account_name: raytrain-flow", "service_account_name: default", "'default'"
    ),
    "prefect: a namespace that is not made": Plant(
        "prefect.yaml", "namespace: raytrain", "namespace: default", "namespace: no Namespace"
    ),
    "pool: Prefect's own namespace": Plant(
        "flows/k8s-pool.json", '"default": "raytrain"', '"default": "default"', "namespace: no Namespace"
    ),
    "pool: an account that is not made": Plant(
        "infra/k8s/base/accounts.yaml",
        "name: raytrain-flow\n",
        "name: raytrain-flows\n",
        "no ServiceAccount 'raytrain-flow'",
        "flows/k8s-pool.json",
    ),
    "dashboard: a key that Grafana has not": Plant(
        "dashboards/run.json", '"gridPos"', '"gridPosition"', "gridPosition"
    ),
    "dashboard: a type": Plant(
        "dashboards/run.json", '"schemaVersion": 41', '"schemaVersion": "new"', "schema_version"
    ),
    "dashboard: an unknown metric": Plant(
        "dashboards/run.json", "raytrain_train_loss", "raytrain_train_lost", "raytrain_train_lost"
    ),
    "dashboard: PromQL": Plant("dashboards/cost.json", "sum by (run_id) (", "sum by run_id (", "parse error"),
    "dashboard: not JSON": Plant("dashboards/cost.json", '"panels": [', '"panels": ', "Expecting"),
    "rules: PromQL": Plant("dashboards/rules.yml", "expr: ", "expr: )", "parse"),
    "rules: an unknown metric": Plant(
        "dashboards/rules.yml", "raytrain_run_state", "raytrain_run_status", "raytrain_run_status"
    ),
    "rules: a key": Plant("dashboards/rules.yml", "annotations:", "annotation:", "annotation"),
    "rules: changed, and the object not": Plant(
        "dashboards/rules.yml",
        "severity: page",
        "severity: warning",
        "derive.py",
        "infra/k8s/base/prometheusrule.yaml",
    ),
    "style: a key twice": Plant(
        "cluster/local.yaml", "max_workers: 3\n\n", "max_workers: 3\nmax_workers: 4\n\n", "key-dup"
    ),
}


def test_everything_in_the_tree_is_valid() -> None:
    command = [sys.executable, "infra/validate.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, "\n".join(x for x in done.stdout.splitlines() if not x.startswith("ok")) + done.stderr
    named = {line.removeprefix("ok  ") for line in done.stdout.splitlines()}
    assert {plant.seen_from or plant.file for plant in PLANTS.values()} <= named


def test_the_program_ends_with_1_and_a_place_where_something_is_wrong() -> None:
    command = [sys.executable, "infra/validate.py", "README.md", "infra/nothing.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "README.md:1: no check knows this file",
        "infra/nothing.yaml:1: no such file",
    ]


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_error_is_found(tree: Tree, name: str) -> None:
    plant = PLANTS[name]
    path = tree.root / plant.file
    text = path.read_text()
    assert plant.old in text
    path.write_text(text.replace(plant.old, plant.new, 1))
    good, said = tree.validate(plant.seen_from or plant.file)
    assert not good
    assert plant.said in said
    assert all(re.match(r"[\w./-]+:\d+: ", line) for line in said.splitlines())


def test_a_rule_test_that_fails_is_found(tree: Tree) -> None:
    tests = tree.root / "dashboards" / "rules_test.yml"
    document = yaml.safe_load(tests.read_text())
    cases = [case for test in document["tests"] for case in test.get("alert_rule_test", ())]
    next(case for case in cases if case["exp_alerts"])["exp_alerts"] = []
    tests.write_text(yaml.safe_dump(document))
    good, said = tree.validate("dashboards/rules_test.yml")
    assert not good
    assert "FAILED" in said


@pytest.mark.parametrize(
    "file", ["dashboards/rules.yml", "infra/alertmanager/alertmanager.yml", "infra/docker/raytrain.Dockerfile"]
)
def test_a_missing_validator_is_an_error_and_not_a_pass(tree: Tree, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    monkeypatch.setattr("shutil.which", lambda *arguments, **options: None)
    good, said = tree.validate(file)
    assert not good
    assert "is missing, nothing was checked" in said
