"""The dashboard asks only for metrics that servers have, and Prometheus and Grafana are for this machine alone."""

import json
import re
from pathlib import Path

import pytest
from prometheus_client import parser
from yaml import safe_dump, safe_load

from ganglion.serving.command.policy_config import PolicyServeConfig
from ganglion.serving.command.vlm_config import VlmServeConfig
from ganglion.serving.openai.metrics import ServerMetrics
from ganglion.serving.policy.metrics import METRICS
from ganglion.serving.vlm.scheduler import Load

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docker"
BOARD = json.loads((FOLDER / "grafana/ganglion.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
COMPOSE = safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (FOLDER / "observe.yaml").read_text()))
SERVICES = COMPOSE["services"]
# https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/metrics.html
TRITON = {
    "nv_inference_request_success": {"model"},
    "nv_inference_request_failure": {"model"},
    "nv_inference_queue_duration_us": {"model"},
    "nv_inference_pending_request_count": {"model"},
}


def vlm_metrics():
    """{name as it is read: labels} of the VLM server, from what it shows."""
    metrics = ServerMetrics(lambda: Load(0, 0, 0, 0))
    metrics.requests.labels("stop")
    metrics.refused.labels("429")
    found = {}
    for family in parser.text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


def policy_metrics():
    found = {}
    for metric in METRICS:
        labels = {"process"} if metric.kind == "gauge" else {metric.label} - {""}
        names = [metric.name]
        if metric.kind == "histogram":
            names = [f"{metric.name}_{part}" for part in ("bucket", "sum", "count")]
        found |= {name: labels | ({"le"} if name.endswith("_bucket") else set()) for name in names}
    return found


KNOWN = {**policy_metrics(), **vlm_metrics(), **TRITON}


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_asks_for_metrics_and_labels_that_there_are_and_has_a_unit(panel):
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    for target in panel["targets"]:
        names = re.findall(r"\b(?:ganglion|nv)_\w+", target["expr"])
        assert names and {*names} <= {*KNOWN}, target["expr"]
        labels = set().union(*(KNOWN[name] for name in names))
        asked = re.findall(r"\bby \(([^)]*)\)", target["expr"])
        grouped = {label.strip() for group in asked for label in group.split(",")}
        assert grouped <= labels, target["expr"]
        shown = {*re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])}
        assert shown <= (grouped or labels), target["legendFormat"]
        assert target["expr"].count("(") == target["expr"].count(")")
        for name in names:  # counters and histograms are only of use as rates
            rated = name.endswith(("_total", "_bucket")) or name in TRITON.keys() - {
                "nv_inference_pending_request_count"
            }
            assert (f"rate({name}" in target["expr"]) == rated, target["expr"]


def test_every_metric_of_the_policy_is_on_the_dashboard():
    shown = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    assert [metric.name for metric in METRICS if metric.name not in shown] == []


def test_panels_do_not_overlap_and_their_data_source_is_the_one_that_is_provided():
    taken = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken and max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    (source,) = safe_load((FOLDER / "grafana/datasources.yaml").read_text())["datasources"]
    assert {panel["datasource"]["uid"] for panel in PANELS} == {source["uid"]}
    listening = next(word for word in SERVICES["prometheus"]["command"] if "listen-address" in word)
    assert source["url"] == f"http://{listening.split('=')[1]}"


def test_prometheus_looks_where_servers_listen_by_default():
    jobs = safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in jobs}
    policy, vlm = PolicyServeConfig(Path()), VlmServeConfig(Path())
    assert targets == {"policy": [f"127.0.0.1:{policy.metrics_port}"], "vlm": [f"127.0.0.1:{vlm.port}"]}


def test_both_are_for_this_machine_alone_and_call_nobody():
    assert "--web.listen-address=127.0.0.1:9090" in SERVICES["prometheus"]["command"]
    said = SERVICES["grafana"]["environment"]
    assert said["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    off = ["ANALYTICS_REPORTING", "ANALYTICS_CHECK_FOR_UPDATES", "ANALYTICS_CHECK_FOR_PLUGIN_UPDATES", "NEWS_NEWS_FEED"]
    assert {said[f"GF_{name}" + ("" if "CHECK" in name else "_ENABLED")] for name in off} == {"false"}
    assert said["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert said["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    for service in SERVICES.values():
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"] and service["mem_limit"] and "ports" not in service
        assert service["profiles"] == ["observe"]
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])


def test_files_that_are_mounted_exist_and_compose_is_valid():
    for service in SERVICES.values():
        for volume in service["volumes"]:
            if volume["type"] == "bind":
                assert volume["read_only"] and (FOLDER / volume["source"]).is_file()
            else:
                assert volume["source"] in COMPOSE["volumes"]
    compose_spec = pytest.importorskip("compose_spec", reason="compose-spec has no wheel for this machine")
    compose_spec.PyCompose.from_yaml(safe_dump(COMPOSE)).validate()


def test_the_page_has_every_metric_with_its_labels_and_nothing_else():
    page = (ROOT / "docs/reference/metrics.md").read_text()
    told = re.findall(r"^\| `(ganglion_\w+)` \| (\w+) \|\s*([^|]*?)\s*\|", page, re.MULTILINE)
    policy = [
        (m.name, m.kind, "`process`" if m.kind == "gauge" else f"`{m.label}`: {', '.join(m.values)}" if m.label else "")
        for m in METRICS
    ]
    assert told[: len(policy)] == policy
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in vlm_metrics()}
    assert {name for name, *_ in told[len(policy) :]} == bases
