"""Derive kserve_schemas.json, by which test_kserve.py holds docker/kserve/ to the API of Kubernetes and KServe.

    pip download --no-deps kserve==0.21.0 kubernetes-validate==1.37.0
    python tests/docker/kserve_schemas.py kserve-*.whl kubernetes_validate-*.whl

Kubernetes' schemas come as they are, in their strict form (no unknown field). KServe's CRDs are in no wheel; its Python
client, which is generated from their OpenAPI, says of each object which fields it has, of which type, and which of them
must be there. Kept is what the kinds of docker/kserve/ lead to, without descriptions, and without what _UNUSED names:
that is refused, as is a field whose type the client does not have.
"""

import ast
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

KUBERNETES = "kubernetes_validate/kubernetes-json-schema/v1.37.0-local-strict/_definitions.json"
KINDS = {
    "v1/ConfigMap": "io.k8s.api.core.v1.ConfigMap",
    "v1/PersistentVolumeClaim": "io.k8s.api.core.v1.PersistentVolumeClaim",
    "v1/Service": "io.k8s.api.core.v1.Service",
    "networking.k8s.io/v1/NetworkPolicy": "io.k8s.api.networking.v1.NetworkPolicy",
    "policy/v1/PodDisruptionBudget": "io.k8s.api.policy.v1.PodDisruptionBudget",
    "serving.kserve.io/v1alpha1/ServingRuntime": "V1alpha1ServingRuntime",
    "serving.kserve.io/v1beta1/InferenceService": "V1beta1InferenceService",
}
OUT = Path(__file__).with_suffix(".json")
_PLAIN = {"str": "string", "int": "integer", "bool": "boolean", "float": "number", "object": "object"}
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
# Of KServe: other model servers than a runtime's, other parts of a service than its predictor, and the status.
_UNUSED = {
    *("status", "explainer", "transformer", "autoScaling", "ephemeralContainers", "builtInAdapter", "storageHelper"),
    *("huggingface", "lightgbm", "onnx", "paddle", "pmml", "pytorch", "sklearn", "tensorflow", "triton", "xgboost"),
}
Schema = dict[str, Any]


def main(kserve: Path, kubernetes: Path) -> None:
    with zipfile.ZipFile(kubernetes) as wheel:
        found: dict[str, Schema] = json.loads(wheel.read(KUBERNETES))["$defs"]
    with zipfile.ZipFile(kserve) as wheel:
        texts = [wheel.read(name).decode() for name in wheel.namelist() if re.match(r"kserve/models/v1", name)]
    for text in texts:
        name, schema = model(text, found)
        found[name] = schema
    # Not in the client, which names it: the runtime's pod, and how it is spread (KServe's servingruntime_types.go).
    worker: Schema = json.loads(json.dumps(found["V1alpha1ServingRuntimePodSpec"]))
    worker["properties"] |= {f"{kind}ParallelSize": {"type": "integer"} for kind in ("pipeline", "tensor")}
    found["V1alpha1WorkerSpec"] = worker
    kept = reached(found, KINDS.values())
    wheels = f"{kserve.name} and {kubernetes.name}"
    head = {
        "$comment": f"Derived by {Path(__file__).name} from {wheels} (PyPI), both under Apache-2.0.",
        "kinds": KINDS,
    }
    lines = [f"{json.dumps(name)}: {json.dumps(kept[name], separators=(',', ':'))}" for name in sorted(kept)]
    text = json.dumps(head, indent=1)[:-2] + ',\n "$defs": {\n' + ",\n".join(lines) + "\n}}\n"
    OUT.write_text(text, encoding="utf-8")


def model(text: str, kubernetes: dict[str, Schema]) -> tuple[str, Schema]:
    """A class of the client, as a schema."""
    (cls,) = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    said = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in cls.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    types, names = said["openapi_types"], said["attribute_map"]
    properties = {names[field]: typed(kind, kubernetes) for field, kind in types.items() if names[field] not in _UNUSED}
    required = [names[field] for field in types if f"Invalid value for `{field}`, must not be `None`" in text]
    return cls.name, {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def typed(kind: str, kubernetes: dict[str, Schema]) -> Schema:
    """The client's name of a type, as a schema."""
    if found := re.fullmatch(r"list\[(.+)\]", kind):
        return {"type": "array", "items": typed(found[1], kubernetes)}
    if found := re.fullmatch(r"dict\(str, (.+)\)", kind):
        return {"type": "object", "additionalProperties": typed(found[1], kubernetes)}
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    if kind == "ResourceQuantity":
        return {"$ref": f"#/$defs/{_QUANTITY}"}
    if kind == "datetime":
        return {"type": "string"}
    if long := re.fullmatch(r"K8sIoApi(\w+?)(V1)(\w+)", kind):
        return {"$ref": f"#/$defs/io.k8s.api.{long[1].lower()}.v1.{long[3]}"}
    if found := re.fullmatch(r"V1([A-Z]\w+)", kind):
        name = f"io.k8s.api.core.v1.{found[1]}"
        meta = f"io.k8s.apimachinery.pkg.apis.meta.v1.{found[1]}"
        return {"$ref": f"#/$defs/{name if name in kubernetes else meta}"}
    return {"$ref": f"#/$defs/{kind}"}


def reached(found: dict[str, Schema], roots: Any) -> dict[str, Any]:
    """What the roots lead to; a name that leads nowhere allows nothing."""
    kept: dict[str, Any] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in kept:
            kept[name] = bare(found.get(name, False))
            waiting += re.findall(r'"#/\$defs/([^"]+)"', json.dumps(kept[name]))
    return kept


def bare(schema: Any) -> Any:
    """A schema without what is said for readers and for servers."""
    if isinstance(schema, list):
        return [bare(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: bare(value) for key, value in schema.items() if not is_dropped(key, value)}
    if isinstance(kept.get("properties"), dict):
        kept["properties"].pop("status", None)
    return kept


def is_dropped(key: str, value: Any) -> bool:
    return (key == "description" and isinstance(value, str)) or key.startswith("x-kubernetes-")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
