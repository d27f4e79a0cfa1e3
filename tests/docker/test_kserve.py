"""docker/kserve/ is what Kubernetes and KServe take, and what the images, the command and each other's names ask for.

Schemas: kserve_schemas.json, derived by kserve_schemas.py. Nothing is applied to a cluster here.
"""

import copy
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from images_for_test import IMAGES, ROOT, SERVICES, parsed, stages_of
from jsonschema import Draft202012Validator, ValidationError
from yaml import safe_load, safe_load_all

from ganglion.serving.command.policy_config import PolicyServeConfig
from ganglion.serving.server_process import _GRACE_S

FOLDER = ROOT / "docker/kserve"
FILES = sorted(FOLDER.glob("*.yaml"))
PAGE = (ROOT / "docs/how-to/fleet.md").read_text()
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
SCHEMAS = json.loads(Path(__file__).with_name("kserve_schemas.json").read_text())
MANIFESTS = [(file.stem, manifest) for file in FILES for manifest in safe_load_all(file.read_text())]
SERVED = {"policy": "triton-cpu", "vlm": "vllm", "vlm-nodes": "vllm"}  # InferenceService -> service in compose.yaml
manifests = pytest.mark.parametrize(
    ("file", "manifest"), MANIFESTS, ids=[f"{file}-{one['kind']}-{one['metadata']['name']}" for file, one in MANIFESTS]
)
served = pytest.mark.parametrize("name", SERVED)


def validate(manifest):
    kind = SCHEMAS["kinds"][f"{manifest['apiVersion']}/{manifest['kind']}"]
    Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": SCHEMAS["$defs"]}).validate(manifest)


def the(kind, name):
    (found,) = [one for _, one in MANIFESTS if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def predictor(name):
    return the("InferenceService", name)["spec"]["predictor"]


def runtime(name):
    return the("ServingRuntime", predictor(name)["model"]["runtime"])["spec"]


def container(name):
    """What serves, with the service's arguments after its runtime's, as KServe joins them."""
    (found,) = [one for one in runtime(name)["containers"] if one["name"] == "kserve-container"]
    return {**found, "args": [*found["args"], *predictor(name)["model"]["args"]]}


def pods(name):
    """(spec, containers, pod's security) of each kind of pod of a service."""
    found = [(runtime(name), runtime(name)["containers"], predictor(name))]
    if "workerSpec" in predictor(name):
        worker = runtime(name)["workerSpec"]
        found.append((worker, worker["containers"], predictor(name)["workerSpec"]))
    return found


@manifests
def test_a_manifest_is_what_its_api_takes(file, manifest):
    validate(manifest)


def changed(kind, name, *path, value):
    manifest = copy.deepcopy(the(kind, name))
    at = manifest
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return manifest


@pytest.mark.parametrize(
    ("kind", "name", "path", "value", "said"),
    [
        (
            "InferenceService",
            "policy",
            ("spec", "predictor", "model", "storageURI"),
            "pvc://b",
            "'storageURI' was unex",
        ),
        ("InferenceService", "policy", ("spec", "predictor", "minReplicas"), "2", "'2' is not of type 'integer'"),
        ("InferenceService", "vlm-nodes", ("spec", "predictor", "workerSpec", "nodes"), 2, "'nodes' was unexpected"),
        ("InferenceService", "vlm", ("spec", "predictor", "model"), {}, "'modelFormat' is a required property"),
        ("ServingRuntime", "ganglion-policy", ("spec", "containers", 0, "comand"), ["a"], "'comand' was unexpected"),
        ("ServingRuntime", "ganglion-policy", ("spec", "securityContext"), {}, "'securityContext' was unexpected"),
        ("ServingRuntime", "ganglion-vllm", ("spec", "containers", 0, "args"), "serve", "not of type 'array'"),
        ("ServingRuntime", "ganglion-vllm-nodes", ("spec", "workerSpec", "tensorParallelSize"), "1", "'integer'"),
        ("Service", "policy-robots", ("spec", "ports", 0, "port"), "grpc", "'grpc' is not of type 'integer'"),
        ("NetworkPolicy", "policy", ("spec", "ingres"), [], "'ingres' was unexpected"),
        ("PodDisruptionBudget", "policy", ("spec", "maxUnavailable"), 0.5, "0.5 is not valid"),
        ("ConfigMap", "policy-metrics", ("data", "prometheus.yml"), {}, "{} is not of type"),
        ("PersistentVolumeClaim", "bundles", ("spec", "resources", "request"), {}, "'request' was unexpected"),
    ],
)
def test_a_field_that_is_unknown_missing_or_of_another_type_is_refused(kind, name, path, value, said):
    with pytest.raises(ValidationError, match=said):
        validate(changed(kind, name, *path, value=value))


@served
def test_every_image_is_one_of_ours_at_this_version_or_pinned_elsewhere(name):
    for _, containers, _ in pods(name):
        for one in containers:
            tag = one["image"].rpartition(":")[2]
            if one["name"] == "metrics":
                observed = safe_load((ROOT / "docker/observe.yaml").read_text())["services"]["prometheus"]["image"]
                assert one["image"] == observed and re.fullmatch(r"v\d+\.\d+\.\d+", tag)
                continue
            assert tag == VERSION
            build = {"vlm": "one", "vlm-nodes": "ray", "policy": "cpu"}[name]
            file = ROOT / "docker" / Path(SERVICES[SERVED[name]]["build"]["dockerfile"]).name
            assert build in stages_of(file)
            assert f"docker build --file docker/{file.name} --target {build} --tag {one['image']} ." in PAGE


def command(name, folder):
    """What the container runs: its arguments, or, of a script, what that starts, see `run_script`."""
    one = container(name)
    if "command" not in one:
        return [*json.loads(IMAGES[SERVED[name]].last("ENTRYPOINT") or "[]"), *one["args"]]
    return next(line for line in run_script(one, folder) if line[:1] == ["ganglion"])


def run_script(one, folder, failures=2):
    """The lines that a container's script runs, with programs in place of `ray` and `ganglion` that write them down.

    Ray knows of one node at first, and of another after `failures` questions; so long it is not there for a worker.
    """
    (folder / "ray").write_text(f"""#!/bin/bash
printf '%s\\0' ray "$@" >> {folder}/lines; echo >> {folder}/lines
asked=$(grep -c -e status -e health-check {folder}/lines)
case "$1" in
status) echo " 1 node_a"; [ "$asked" -le {failures} ] || echo " 1 node_b" ;;
health-check) [ "$asked" -gt {failures} ] ;;
esac
""")
    (folder / "ganglion").write_text(
        f"#!/bin/bash\nprintf '%s\\0' ganglion \"$@\" RAY_ADDRESS=$RAY_ADDRESS >> {folder}/lines\n"
    )
    (folder / "sleep").write_text("#!/bin/bash\n")
    for program in ("ray", "ganglion", "sleep"):
        (folder / program).chmod(0o755)
    told = {"RAY_NODE_COUNT": "2", "TENSOR_PARALLEL_SIZE": "1", "PIPELINE_PARALLEL_SIZE": "2", "HEAD_SVC": "vlm-head-1"}
    environment = {**told, "POD_IP": "10.0.0.7", "POD_NAMESPACE": "ganglion", "PATH": f"{folder}:/usr/bin:/bin"}
    subprocess.run([*one["command"], *one["args"]], env=environment, check=True, timeout=20)
    return [line.rstrip("\0").split("\0") for line in (folder / "lines").read_text().splitlines()]


@served
def test_the_command_is_one_of_ganglions_and_is_guarded_by_mounted_files(name, tmp_path):
    one, words = container(name), command(name, tmp_path)
    config = parsed([word for word in words if not word.startswith("RAY_ADDRESS=")])
    (bundle,) = config.bundles if name != "policy" else [config.bundle]
    assert bundle == Path("/mnt/models")  # where KServe mounts what storageUri names
    assert predictor(name)["model"]["storageUri"].startswith("pvc://bundles/")
    assert the("PersistentVolumeClaim", "bundles")["spec"]["accessModes"] == ["ReadWriteMany"]
    assert config.bind.host == "0.0.0.0" and not config.bind.insecure
    (guard,) = [mount for mount in one["volumeMounts"] if mount["name"] == "guard"]
    files = {config.bind.certificate, config.bind.key, config.bind.token_file}
    assert guard["readOnly"] and {path.parent for path in files} == {Path(guard["mountPath"])}
    assert {path.name for path in files} == {"tls.crt", "tls.key", "token"}
    (volume,) = [volume for volume in runtime(name)["volumes"] if volume["name"] == "guard"]
    secret = volume["secret"]["secretName"]
    told = " ".join(f"--from-file=secrets/{name}" for name in ("tls.crt", "tls.key", "token"))
    assert f"create secret generic {secret} {told}\n" in PAGE
    assert one["ports"][0]["containerPort"] == (config.grpc_port if name == "policy" else config.port)


def test_the_policy_s_arguments_fit_its_cores():
    config, one = parsed(command("policy", None)), predictor("policy")["model"]["resources"]
    assert one["requests"] == one["limits"]
    assert config.vl_threads == 1 and config.instances + config.vl_threads == int(one["limits"]["cpu"])


def test_the_policy_s_probes_ask_what_the_image_s_health_check_asks():
    one, health = container("policy"), IMAGES["triton-cpu"].last("HEALTHCHECK")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert one[probe]["exec"]["command"] == json.loads(health.split(" CMD ")[1])
        assert one[probe]["timeoutSeconds"] >= 5
    assert not any("httpGet" in one[probe] for probe in ("startupProbe", "readinessProbe", "livenessProbe"))


@pytest.mark.parametrize("name", ["vlm", "vlm-nodes"])
def test_vllm_is_asked_at_the_path_that_is_open_without_its_token(name, tmp_path):
    one, config = container(name), parsed([w for w in command(name, tmp_path) if not w.startswith("RAY_ADDRESS=")])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert one[probe]["httpGet"] == {"path": "/health", "port": config.port, "scheme": "HTTPS"}
    # Ganglion gives up, and says why, before the kubelet does.
    assert one["startupProbe"]["periodSeconds"] * one["startupProbe"]["failureThreshold"] > config.vllm.ready_limit_s


@served
def test_nobody_is_root_and_only_volumes_are_written(name):
    image = IMAGES[SERVED[name]]
    user, group = map(int, image.last("USER").split(":"))
    for spec, containers, pod in pods(name):
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["fsGroup"]
        for one in containers:
            security = one["securityContext"]
            assert security["runAsNonRoot"] and security["readOnlyRootFilesystem"]
            assert security["allowPrivilegeEscalation"] is False and security["capabilities"] == {"drop": ["ALL"]}
            mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in one["volumeMounts"]}
            if one["name"] == "metrics":
                continue
            assert (security["runAsUser"], security["runAsGroup"]) == (user, group)
            assert mounts["/dev/shm"]["emptyDir"]["medium"] == "Memory"
            assert all(mounts[path]["emptyDir"]["sizeLimit"] for path in ("/tmp", "/cache"))
            assert image.env["GANGLION_CACHE"].startswith("/cache/")
    if name == "policy":
        assert image.last("WORKDIR") == "/cache"  # runs/serve/triton.log is written there


@served
def test_there_is_time_to_end(name):
    pause = container(name).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert predictor(name)["terminationGracePeriodSeconds"] > pause + _GRACE_S


@manifests
def test_selectors_find_the_pods_of_a_service(file, manifest):
    labels = {f"isvc.{name}-predictor{role}" for name in SERVED for role in ("", "-worker")}
    text = json.dumps(manifest)
    assert set(re.findall(r'"(isvc\.[\w.-]+)"', text)) <= labels
    if manifest["kind"] in ("NetworkPolicy", "PodDisruptionBudget", "Service"):
        assert "isvc." in text


@served
def test_only_who_is_named_reaches_a_service(name):
    policy, port = the("NetworkPolicy", name)["spec"], container(name)["ports"][0]["containerPort"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    for rule in policy["ingress"]:
        if "ports" in rule:
            assert [one["port"] for one in rule["ports"]] == [port]
            assert all("namespaceSelector" in peer for peer in rule["from"])
        else:  # Ray's ports, for the pods of one model alone
            assert rule["from"] == [{"podSelector": policy["podSelector"]}] and name == "vlm-nodes"


def test_robots_come_back_to_their_pod_or_name_it():
    robots, each = the("Service", "policy-robots")["spec"], the("Service", "policy-pods")["spec"]
    assert robots["sessionAffinity"] == "ClientIP" and each["clusterIP"] == "None"
    keeps_s = robots["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"]
    assert keeps_s > PolicyServeConfig(Path()).idle_s
    assert [one["targetPort"] for one in (*robots["ports"], *each["ports"])] == [8001, 8001]


def test_metrics_are_read_within_the_pod_alone():
    config = safe_load(the("ConfigMap", "policy-metrics")["data"]["prometheus.yml"])
    (targets,) = [one["targets"] for job in config["scrape_configs"] for one in job["static_configs"]]
    assert targets == [f"127.0.0.1:{PolicyServeConfig(Path()).metrics_port}"]
    (reader,) = [one for one in runtime("policy")["containers"] if one["name"] == "metrics"]
    assert "--web.listen-address=127.0.0.1:9090" in reader["args"] and "ports" not in reader


def test_the_head_waits_for_all_nodes_and_hands_the_sizes_to_vllm(tmp_path):
    lines = run_script(container("vlm-nodes"), tmp_path)
    assert [line[1] for line in lines] == ["start", "status", "status", "status", "serve"]
    assert "--head" in lines[0] and "--node-ip-address=10.0.0.7" in lines[0]
    *words, address = lines[-1]
    assert address == "RAY_ADDRESS=10.0.0.7:6379"
    options = parsed(words).vllm
    assert options.node_address == "10.0.0.7" and options.memory_share == 0.9
    assert options.extra == [
        *("--distributed-executor-backend=ray", "--tensor-parallel-size=1", "--pipeline-parallel-size=2")
    ]


def test_a_worker_waits_for_its_head_and_ends_with_it(tmp_path):
    (worker,) = runtime("vlm-nodes")["workerSpec"]["containers"]
    lines = run_script(worker, tmp_path)
    head = "vlm-head-1.ganglion.svc:6379"
    assert lines[:-1] == [["ray", "health-check", "--address", head]] * 3
    assert lines[-1][:3] == ["ray", "start", f"--address={head}"] and "--block" in lines[-1]


def test_sizes_are_those_of_the_gpus():
    asked, given = predictor("vlm-nodes")["workerSpec"], runtime("vlm-nodes")["workerSpec"]
    (worker,) = given["containers"]
    given_to = [worker, predictor("vlm-nodes")["model"]]
    assert [int(one["resources"]["limits"]["nvidia.com/gpu"]) for one in given_to] == [asked["tensorParallelSize"]] * 2
