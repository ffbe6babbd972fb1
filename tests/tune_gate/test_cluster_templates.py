"""The templates for clusters: against Ray's own schema, against what KubeRay's CRD says, and for the shell."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from analysis.names import UnknownName
from tune_gate.cli import app
from tune_gate.cluster_templates import TEMPLATES, template

#: What KubeRay's CRD `rayjobs.ray.io`, version v1 (of August 2026), knows of what the template uses: the names of the
#: fields, their types, and which are needed. The CRD itself has 25,000 lines, most of them Kubernetes' pods.
TEXT, WHOLE, YES_NO, ANYTHING = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}, {"type": "object"}


def known(needed: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(needed), "additionalProperties": False}


def texts(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": TEXT}


def many(each: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": each, "minItems": 1}


POD = known(
    ("spec",),
    spec=known(
        ("containers",),
        nodeSelector=texts(),
        terminationGracePeriodSeconds=WHOLE,
        containers=many(
            known(
                ("name",),
                name=TEXT,
                image=TEXT,
                resources=known(requests=texts(), limits=texts()),
                volumeMounts=many(known(("name", "mountPath"), name=TEXT, mountPath=TEXT)),
            )
        ),
        volumes=many(
            known(
                ("name",),
                name=TEXT,
                persistentVolumeClaim=known(("claimName",), claimName=TEXT),
                emptyDir=known(medium=TEXT, sizeLimit=TEXT),
            )
        ),
    ),
)
CLUSTER = known(
    ("headGroupSpec",),
    rayVersion=TEXT,
    enableInTreeAutoscaling=YES_NO,
    authOptions=known(mode={"enum": ["disabled", "token"]}, secretName=TEXT),
    headGroupSpec=known(("template",), rayStartParams=texts(), template=POD),
    workerGroupSpecs=many(
        known(
            ("groupName", "minReplicas", "maxReplicas", "template"),
            groupName=TEXT,
            replicas=WHOLE,
            minReplicas=WHOLE,
            maxReplicas=WHOLE,
            rayStartParams=texts(),
            template=POD,
        )
    ),
)
RAY_JOB = known(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=ANYTHING,
    spec=known(
        entrypoint=TEXT,
        runtimeEnvYAML=TEXT,
        backoffLimit=WHOLE,
        shutdownAfterJobFinishes=YES_NO,
        ttlSecondsAfterFinished=WHOLE,
        rayClusterSpec=CLUSTER,
    ),
)


def test_the_kuberay_template_is_a_rayjob() -> None:
    job = yaml.safe_load(template("kuberay").text)
    jsonschema.validate(job, RAY_JOB)
    assert {"RAY_JOB_STOP_SIGNAL", "STUDY", "FOLDER"} <= set(yaml.safe_load(job["spec"]["runtimeEnvYAML"])["env_vars"])
    job["spec"]["rayClusterSpec"]["workerGroupSpec"] = []
    with pytest.raises(jsonschema.ValidationError, match="workerGroupSpec"):
        jsonschema.validate(job, RAY_JOB)


@pytest.mark.parametrize("kind", ["ray-up-aws", "ray-up-gcp"])
def test_a_ray_up_template_is_one_by_rays_own_schema(kind: str) -> None:
    config = yaml.safe_load(template(kind).text)
    found = find_spec("ray")
    assert found is not None
    assert found.origin is not None
    schema = json.loads((Path(found.origin).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    assert config["head_node_type"] in config["available_node_types"]
    assert all("RAY_AUTH_MODE=token" in config[f"{node}_start_ray_commands"][-1] for node in ("head", "worker"))


def test_the_slurm_template_is_bash_and_its_directives_come_first() -> None:
    text = template("slurm").text
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    subprocess.run([bash, "-n"], input=text, text=True, check=True)
    lines = text.splitlines()
    code = next(index for index, line in enumerate(lines) if line and not line.startswith("#"))
    assert not any(line.startswith("#SBATCH") for line in lines[code:])  # SLURM would pass over them
    assert "#SBATCH --requeue" in lines


@pytest.mark.parametrize("kind", TEMPLATES)
def test_a_template_goes_to_standard_output_or_into_a_new_file(kind: str, tmp_path: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(app, ["cluster", "template", kind]).stdout == template(kind).text
    path = tmp_path / "file"
    written = runner.invoke(app, ["cluster", "template", kind, "-o", str(path)])
    assert f"edit it, then: {template(kind).use.replace('FILE', str(path))}" in written.stdout
    assert path.read_text() == template(kind).text
    again = runner.invoke(app, ["cluster", "template", kind, "-o", str(path)])
    assert "nothing is written over" in str(again.exception)


def test_an_unknown_kind_of_cluster_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="unknown kind of cluster 'slrum'; did you mean 'slurm'"):
        template("slrum")
