"""Checks everything that describes a cluster or a service: `python infra/validate.py [FILE...]`.

One line a file, `ok` or what is wrong and where; exit 1 when anything is. Offline: no cloud, no container, no cluster.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import derive
from checks import kubernetes, launcher, services, texts
from checks.finding import Finding, Unreadable

ROOT = Path(__file__).resolve().parents[1]
Check = Callable[[Path], Iterator[Finding]]
CHECKS: tuple[tuple[str, Check], ...] = (
    ("cluster/*.yaml", launcher.launcher),
    ("cluster/iam/*.json", launcher.iam),
    ("cluster/kuberay/*.yaml", kubernetes.manifest),
    ("infra/k8s/base/[!k]*.yaml", kubernetes.manifest),
    ("infra/k8s/**/kustomization.yaml", kubernetes.kustomization),
    ("dashboards/kustomization.yaml", kubernetes.kustomization),
    ("infra/compose.yaml", services.compose),
    ("infra/docker/*.Dockerfile", texts.dockerfile),
    ("infra/prometheus/prometheus.yml", services.prometheus),
    ("infra/alertmanager/alertmanager.yml", services.alertmanager),
    ("infra/grafana/provisioning/*/*.yaml", services.grafana),
    ("infra/*.sh", texts.shell),
    ("infra/slurm/*.sbatch", texts.sbatch),
    ("infra/sky/*.yaml", texts.sky),
    ("dashboards/rules.yml", services.rules),
    ("dashboards/*test*.yml", services.rule_tests),
    ("dashboards/*.json", services.dashboard),
    ("prefect.yaml", texts.prefect),
    ("prefect.yaml", kubernetes.flow_deployments),
    ("flows/k8s-pool.json", kubernetes.flow_pool),
    ("cluster/**/*.yaml", texts.yaml_style),
    ("infra/**/*.y*ml", texts.yaml_style),
    ("dashboards/*.y*ml", texts.yaml_style),
    ("prefect.yaml", texts.yaml_style),
)


def checks_of(root: Path) -> dict[Path, list[Check]]:
    """The checks of each file below a root that is ours to check."""
    found: dict[Path, list[Check]] = {}
    for pattern, check in CHECKS:
        for path in sorted(root.glob(pattern)):
            found.setdefault(path, []).append(check)
    for name in derive.DERIVED:
        found.setdefault(root / name, []).append(lambda path: stale(path, root))
    return dict(sorted(found.items()))


def stale(path: Path, root: Path) -> Iterator[Finding]:
    """A file that is written by infra/derive.py, and not what it would write."""
    expected = derive.DERIVED[path.relative_to(root).as_posix()](root)
    if not path.exists() or path.read_text() != expected:
        yield Finding(path, 1, "not what its source says: run python infra/derive.py")


def findings(path: Path, checks: Sequence[Check]) -> list[Finding]:
    """What all checks of a file find."""
    found: list[Finding] = []
    for check in checks:
        try:
            found += check(path)
        except Unreadable as error:
            found.append(Finding(path, error.line, str(error)))
        except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
            found.append(Finding(path, 1, f"not of the shape that is expected: {type(error).__name__}: {error}"))
    return sorted(set(found))


def report(root: Path, wanted: Sequence[Path] = ()) -> Iterator[tuple[bool, str]]:
    """A line for each file that is in order (True) and each finding (False), of these files or of all below a root."""
    known = checks_of(root)
    for path in wanted or known:
        name = path.relative_to(root) if path.is_relative_to(root) else path
        if path in known:
            found = findings(path, known[path])
        else:
            found = [Finding(path, 1, "no check knows this file" if path.exists() else "no such file")]
        if not found:
            yield True, f"ok  {name}"
        for one in found:
            yield (
                False,
                f"{one.path.relative_to(root) if one.path.is_relative_to(root) else one.path}:{one.line}: {one.what}",
            )


def main(arguments: Sequence[str]) -> int:
    good = True
    for fine, line in report(ROOT, [Path(a).resolve() for a in arguments]):
        good = good and fine
        print(line, flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
