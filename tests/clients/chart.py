"""The Helm chart, rendered by Helm itself: what it refuses, what it makes, and that it is what the Kustomize base is.

Usage: chart.py CHART FOLDER [BASE]

Writes a file of manifests per set of values into FOLDER, and the server's configuration of each beside it. BASE: what Kustomize
makes of the base, to compare with.
"""

import pathlib
import sys
import tomllib

import helm_python
import yaml

PASSWORD = {"aclUsers": {"default": {"password": "secret"}}}
MONITORING = {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}

# Each set is rendered and its manifests are kept.
VALUES = {
    "default": {"auth": PASSWORD},
    "monitored": {"auth": PASSWORD, "metrics": MONITORING},
    "bare": {
        "auth": {"enabled": False},
        "dataStorage": {"enabled": False},
        "metrics": {"enabled": False} | MONITORING,
        "networkPolicy": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "serviceAccount": {"create": False},
    },
    "everything": {
        "image": {"registry": "registry.example", "repository": "cache/torc", "tag": "9.9.9", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "pull"}],
        "fullnameOverride": "cache",
        "commonLabels": {"team": "a"},
        "serviceAccount": {"name": "runs-cache", "annotations": {"a": "b"}},
        "valkeyConfig": 'maxmemory-policy allkeys-lru\nmaxmemory 50%\nsave ""\nappendonly yes\n',
        "valkeyLogLevel": "warning",
        "auth": {"usersExistingSecret": "users", "aclUsers": {"default": {"passwordKey": "admin"}}},
        "dataStorage": {"className": "fast", "requestedSize": "100Gi"},
        "service": {"type": "LoadBalancer", "port": 7000, "annotations": {"a": "b"}},
        "metrics": {
            "port": 9999,
            "serviceMonitor": {"enabled": True, "interval": "5s", "extraLabels": {"release": "prometheus"}},
            "prometheusRule": {"enabled": True, "extraLabels": {"release": "prometheus"}},
        },
        "shutdownTimeout": 100,
        "terminationGracePeriodSeconds": 300,
        "podAnnotations": {"a": "b"},
        "podLabels": {"a": "b"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "cache", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
        "priorityClassName": "high",
        "runtimeClassName": "kata",
    },
    "extended": {
        "global": {"imageRegistry": "mirror.example", "imagePullSecrets": [{"name": "pull"}]},
        "auth": PASSWORD,
        "serviceAccount": {"automount": True},
        "tls": {"existingSecret": "cache-tls", "serverPublicKey": "tls.crt", "serverKey": "tls.key"},
        "dataStorage": {"subPath": "cache", "keepPvc": False, "annotations": {"a": "b"}, "labels": {"c": "d"}},
        "service": {
            "type": "LoadBalancer", "nodePort": 30001, "clusterIP": "10.0.0.7", "loadBalancerClass": "inner",
            "loadBalancerSourceRanges": ["10.0.0.0/8"], "appProtocol": "redis",
        },
        "metrics": {
            "service": {"type": "NodePort", "annotations": {"a": "b"}, "extraLabels": {"c": "d"}, "appProtocol": "http"},
            "serviceMonitor": {
                "enabled": True, "scrapeTimeout": "5s", "annotations": {"a": "b"}, "honorLabels": True,
                "relabelings": [{"action": "labeldrop", "regex": "pod"}],
                "metricRelabelings": [{"action": "drop", "sourceLabels": ["__name__"], "regex": "go_.*"}],
            },
            "podMonitor": {"enabled": True, "interval": "30s", "extraLabels": {"release": "prometheus"}},
            "prometheusRule": {
                "enabled": True, "extraAnnotations": {"a": "b"}, "rules": [{"alert": "Mine", "expr": "redis_up == 0"}],
            },
        },
        "podDisruptionBudget": {"minAvailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"},
        "networkPolicy": {
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "shop"}}}], "ports": [{"port": 6379}]}],
        },
        "startupProbe": {"enabled": False},
        "readinessProbe": {"initialDelaySeconds": 3, "periodSeconds": 1},
        "livenessProbe": {"customProbe": {"tcpSocket": {"port": "redis"}, "periodSeconds": 30}},
        "env": {"TORC_LOGLEVEL": "debug", "NUMBER": 1},
        "extraInitContainers": [{"name": "first", "image": "busybox"}],
        "extraContainers": [{"name": "beside", "image": "busybox"}],
        "extraValkeySecrets": [{"name": "keys", "mountPath": "/etc/keys"}],
        "extraValkeyConfigs": [{"name": "more", "mountPath": "/etc/more"}],
        "extraVolumes": [{"name": "scratch", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
        "workloadAnnotations": {"a": "b"},
    },
    "claimed": {"auth": PASSWORD, "dataStorage": {"persistentVolumeClaimName": "old-data"}},
}

# What must not be rendered, and what the error says.
REFUSED = [
    ({}, "auth.aclUsers.default.password or auth.usersExistingSecret is needed"),
    ({"auth": PASSWORD, "tls": {"enabled": True}}, "has no TLS"),
    ({"auth": PASSWORD, "replica": {"enabled": True}}, "'replica' not allowed"),
    ({"auth": {"aclUsers": {"default": {"password": "p"}, "reader": {}}}}, "'reader' not allowed"),
    ({"auth": {"aclUsers": {"default": {"password": "p", "permissions": "+get"}}}}, "permissions"),
    ({"auth": PASSWORD, "shutdownTimeout": 120}, "must be above shutdownTimeout"),
]


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def one(manifests, kind, name=None):
    found = [m for m in manifests if m["kind"] == kind and name in (None, m["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def render(chart, values):
    return "---\n".join(chart.render(values, name="torc", namespace="cache").values())


def refuses(chart, values, expected):
    try:
        render(chart, values)
    except helm_python.HelmError as error:
        assert expected in str(error), f"{values}: {error}"
    else:
        raise AssertionError(f"{values} are taken")


def check_names(manifests):
    """What refers to something else in the release finds it."""
    pod = one(manifests, "StatefulSet")["spec"]["template"]
    labels = pod["metadata"]["labels"]
    containers = pod["spec"]["containers"]
    monitors = [m for m in manifests if m["kind"] == "PodMonitor"]
    assert all(m["spec"]["selector"]["matchLabels"].items() <= labels.items() for m in monitors), monitors
    ports = {port["name"] for port in containers[0]["ports"]}
    for service in (m for m in manifests if m["kind"] == "Service"):
        assert service["spec"]["selector"].items() <= labels.items(), service
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports, service
    for kind, path in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        for policy in (m for m in manifests if m["kind"] == kind):
            assert policy["spec"][path]["matchLabels"].items() <= labels.items(), policy
    for monitor in (m for m in manifests if m["kind"] == "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        services = [m for m in manifests if m["kind"] == "Service" and wanted <= m["metadata"]["labels"].items()]
        assert len(services) == 1, "one service is scraped"
    mounts = {mount["name"] for mount in containers[0]["volumeMounts"]}
    volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
    claims = one(manifests, "StatefulSet")["spec"].get("volumeClaimTemplates", [])
    assert mounts == volumes | {claim["metadata"]["name"] for claim in claims}
    one(manifests, "ConfigMap", next(v for v in pod["spec"]["volumes"] if v["name"] == "config")["configMap"]["name"])
    one(manifests, "Service", one(manifests, "StatefulSet")["spec"]["serviceName"])


def shape(manifest):
    """A manifest without names that Helm and Kustomize choose, labels, and where the configuration lies."""
    if manifest["kind"] == "Secret":
        return manifest["type"]
    spec = dict(manifest.get("spec") or {})
    for selector in ("selector", "podSelector"):
        spec.pop(selector, None)
    if manifest["kind"] == "StatefulSet":
        pod = spec["template"]["spec"]
        pod["serviceAccountName"] = pod["containers"][0]["args"] = None
        # The default of images with a tag.
        pod["containers"][0].setdefault("imagePullPolicy", "IfNotPresent")
        pod["volumes"] = sorted(volume["name"] for volume in pod["volumes"])
        spec["template"] = pod
        for claim in spec["volumeClaimTemplates"]:
            claim["metadata"].pop("labels", None)
    return spec, manifest.get("automountServiceAccountToken")


def compare(ours, theirs):
    kinds = lambda manifests: sorted(m["kind"] for m in manifests)
    assert kinds(ours) == kinds(theirs), f"{kinds(ours)} and {kinds(theirs)}"
    for manifest in ours:
        name = manifest["metadata"]["name"] if manifest["kind"] == "Service" else None
        other = one(theirs, manifest["kind"], name)
        if manifest["kind"] == "ConfigMap":
            ours_set, theirs_set = settings_of_conf(manifest), settings_of_toml(other)
            assert ours_set == theirs_set, f"{ours_set}\n{theirs_set}"
        else:
            mine, its = shape(manifest), shape(other)
            assert mine == its, f"{manifest['kind']}\nchart: {mine}\nbase:  {its}"


def settings_of_conf(manifest):
    lines = manifest["data"]["torc.conf"].splitlines()
    pairs = (line.split(None, 1) for line in lines if not line.startswith("#"))
    # The name of the password in the Secret is another one.
    return {name: value.replace("secret/default", "secret/password") for name, value in pairs if value != "notice"}


def settings_of_toml(manifest):
    text = lambda value: " ".join(value) if isinstance(value, list) else str(value)
    tables = tomllib.loads(manifest["data"]["torc.toml"]).values()
    settings = {name: text(value) for table in tables for name, value in table.items()}
    # What is the default anyway.
    return {name: value for name, value in settings.items() if value != "auto"} | {"metrics-port": "9121"}


def main():
    path, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    report = helm_python.lint(path, {"auth": PASSWORD}, strict=True)
    complaints = [message for message in report["messages"] if message["severity"] > 1]
    assert not complaints and not report["errors"], report
    with helm_python.Chart.load(path) as chart:
        for values, expected in REFUSED:
            refuses(chart, values, expected)
        rendered = {name: render(chart, values) for name, values in VALUES.items()}
    for name, text in rendered.items():
        manifests = documents(text)
        check_names(manifests)
        (folder / f"{name}.yaml").write_text(text)
        (folder / f"{name}.conf").write_text(one(manifests, "ConfigMap")["data"]["torc.conf"])
    extended = rendered["extended"]
    for wanted in (
        "mirror.example/torc/torc", "whenDeleted: Delete", "nodePort: 30001", "loadBalancerClass: inner", "minAvailable: 1",
        "unhealthyPodEvictionPolicy: AlwaysAllow", "secretName: cache-tls", "tls-cert-file /etc/torc/tls/tls.crt", "alert: Mine",
        "scrapeTimeout: 5s", "mountPath: /etc/keys", "subPath: cache", "initialDelaySeconds: 3", "automountServiceAccountToken: true",
        "app: shop",
    ):
        assert wanted in extended, wanted
    for unwanted in ("startupProbe", "path: /healthz", "torc-client", "Egress"):
        assert unwanted not in extended, unwanted
    everything = rendered["everything"]
    for wanted in ("registry.example/cache/torc:9.9.9", "storageClassName: fast", "port: 7000", "secretName: users", "secret/admin"):
        assert wanted in everything, wanted
    if len(sys.argv) > 3:
        base = documents(pathlib.Path(sys.argv[3]).read_text())
        check_names(base)
        compare(documents(rendered["monitored"]), base)
    print(f"Helm {helm_python.helm_sdk_version()}: {len(rendered)} sets of values")


main()
