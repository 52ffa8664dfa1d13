"""The exporter of our own figures and the Prometheus that collects them, as `raytrain up` starts them."""

from __future__ import annotations

from raytrain.observe.scrape import prometheus_config
from raytrain.services import programs
from raytrain.services.place import BUCKET, HOST, Place
from raytrain.services.ray import DISCOVERY
from raytrain.services.service import Service
from raytrain.services.web import well


def exporter(place: Place) -> Service:
    port = place.port("exporter")
    return Service(
        name="exporter",
        argv=[str(programs.find("raytrain")), "exporter", "--store", f"s3://{BUCKET}", "--port", str(port)],
        environment=place.services_environment(),
        folder=place.folder,
        ports=[port],
        url=f"{place.url('exporter')}/metrics",
        healthy=lambda _: well(f"{place.url('exporter')}/metrics"),
        after=("store",),
    )


def prometheus(place: Place) -> Service:
    options = {
        "config.file": "prometheus.yml",
        "storage.tsdb.path": "data",
        "storage.tsdb.retention.time": "15d",
        "web.listen-address": f"{HOST}:{place.port('prometheus')}",
    }
    return Service(
        name="prometheus",
        argv=[str(programs.find("prometheus")), *(f"--{name}={value}" for name, value in options.items())],
        environment=place.services_environment() | {"HOME": str(place.folder / "home")},
        folder=place.folder / "prometheus",
        ports=place.ports_of("prometheus"),
        url=place.url("prometheus"),
        healthy=lambda _: well(f"{place.url('prometheus')}/-/ready"),
        before=lambda: _configure(place),
    )


def _configure(place: Place) -> None:
    rules = place.root / "dashboards" / "rules.yml"
    config = prometheus_config(
        f"{HOST}:{place.port('exporter')}",
        ray_file_sd=place.folder / "ray" / DISCOVERY if "ray" not in place.without else None,
        prefect=f"{place.url('prefect')}/api" if "prefect" not in place.without else None,
        rules=rules if rules.exists() else None,
    )
    (place.folder / "prometheus" / "prometheus.yml").write_text(config)
