"""What Prometheus is told: whom to ask, how often, and which rules to watch.

It writes configuration and starts nothing. The invariant: every target carries the label `cluster`, by which the
dashboards tell one cluster from another.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml


def prometheus_config(
    exporter: str,
    ray_file_sd: str | Path | None = None,
    prefect: str | None = None,
    rules: str | Path | None = None,
    *,
    alertmanager: str | None = None,
    cluster: str = "local",
    every_seconds: int = 5,
) -> str:
    """A prometheus.yml. `exporter` and `alertmanager` are host:port, `prefect` is the API's URL (PREFECT_API_URL).

    `ray_file_sd` is the file in which a Ray head lists its metric endpoints; it may come into being later. `rules`
    may be a glob pattern.
    """
    jobs: list[dict[str, Any]] = [_static("raytrain", exporter, cluster)]
    if ray_file_sd is not None:
        # Ray names its own job in that file; here it is only "ray", whatever the version calls it.
        found = {"files": [str(ray_file_sd)], "refresh_interval": f"{every_seconds}s"}
        relabel = [
            {"target_label": "job", "replacement": "ray"},
            {"target_label": "cluster", "replacement": cluster},
        ]
        jobs.append({"job_name": "ray", "file_sd_configs": [found], "relabel_configs": relabel})
    if prefect is not None:
        url = urlsplit(prefect)
        place = {"metrics_path": f"{url.path.rstrip('/')}/metrics", "scheme": url.scheme}
        jobs.append(_static("prefect", url.netloc, cluster) | place)
    config: dict[str, Any] = {
        "global": {"scrape_interval": f"{every_seconds}s", "evaluation_interval": f"{every_seconds}s"},
        "scrape_configs": jobs,
    }
    if rules is not None:
        config["rule_files"] = [str(rules)]
    if alertmanager is not None:
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
    return yaml.safe_dump(config, sort_keys=False)


def _static(job: str, target: str, cluster: str) -> dict[str, Any]:
    return {"job_name": job, "static_configs": [{"targets": [target], "labels": {"cluster": cluster}}]}
