//! Audit records of a made-up cluster, in the shape that an API server with a common policy writes them: most are reads without
//! bodies, some are writes with what was asked and answered.

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// Who calls, with what program and how often.
const CALLERS: [(&str, &str, &[&str], u32); 7] = [
    (
        "system:node:ip-10-0-3-17.internal",
        "kubelet/v1.31.4 (linux/amd64) kubernetes/a78aa47",
        &["system:nodes", "system:authenticated"],
        30,
    ),
    (
        "system:serviceaccount:kube-system:replicaset-controller",
        "kube-controller-manager/v1.31.4 (linux/amd64) kubernetes/a78aa47/system:serviceaccount:kube-system:replicaset-controller",
        &[
            "system:serviceaccounts",
            "system:serviceaccounts:kube-system",
            "system:authenticated",
        ],
        20,
    ),
    (
        "system:kube-scheduler",
        "kube-scheduler/v1.31.4 (linux/amd64) kubernetes/a78aa47/leader-election",
        &["system:authenticated"],
        15,
    ),
    (
        "system:serviceaccount:ml:trainer",
        "python-requests/2.32.3",
        &[
            "system:serviceaccounts",
            "system:serviceaccounts:ml",
            "system:authenticated",
        ],
        12,
    ),
    (
        "system:serviceaccount:monitoring:prometheus",
        "Prometheus/2.55.1",
        &[
            "system:serviceaccounts",
            "system:serviceaccounts:monitoring",
            "system:authenticated",
        ],
        12,
    ),
    (
        "mara@example.com",
        "kubectl/v1.31.2 (darwin/arm64) kubernetes/5864a46",
        &["platform-admins", "system:authenticated"],
        8,
    ),
    ("system:anonymous", "curl/8.9.1", &["system:unauthenticated"], 3),
];
const RESOURCES: [(&str, &str); 8] = [
    ("pods", ""),
    ("configmaps", ""),
    ("secrets", ""),
    ("leases", "coordination.k8s.io"),
    ("deployments", "apps"),
    ("jobs", "batch"),
    ("endpointslices", "discovery.k8s.io"),
    ("events", ""),
];
const NAMESPACES: [&str; 5] = ["kube-system", "ml", "inference", "monitoring", "default"];

/// Appends `count` lines; the same seed gives the same bytes.
pub fn records(seed: u64, count: usize, out: &mut Vec<u8>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for number in 0..count {
        out.extend_from_slice(record(&mut rng, number).to_string().as_bytes());
        out.push(b'\n');
    }
}

fn uid(rng: &mut impl Rng) -> String {
    let (a, b): (u64, u64) = (rng.random(), rng.random());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        0x8000 | (b >> 48) & 0x3fff,
        b & 0xffff_ffff_ffff
    )
}

fn record(rng: &mut ChaCha8Rng, number: usize) -> Value {
    let (user, agent, groups, _) = *CALLERS.choose_weighted(rng, |caller| caller.3).unwrap_or(&CALLERS[0]);
    let (resource, group) = RESOURCES[rng.random_range(0..RESOURCES.len())];
    let namespace = NAMESPACES[rng.random_range(0..NAMESPACES.len())];
    let name = format!("{}-{:x}", &resource[..resource.len() - 1], rng.random::<u32>() % 4096);
    let verb = *["get", "list", "watch", "get", "update", "patch", "create", "delete"]
        .choose(rng)
        .unwrap_or(&"get");
    let refused = user == "system:anonymous" || rng.random_ratio(1, 50);
    let base = if group.is_empty() {
        "/api/v1".to_owned()
    } else {
        format!("/apis/{group}/v1")
    };
    let one = !matches!(verb, "list" | "watch" | "create");
    let uri = match one {
        true => format!("{base}/namespaces/{namespace}/{resource}/{name}"),
        false => format!("{base}/namespaces/{namespace}/{resource}?limit=500&resourceVersion=0"),
    };
    let (second, micro) = (number / 40 % 86_400, rng.random_range(0..900_000u32));
    let stamp = |micro: u32| {
        format!(
            "2026-03-02T{:02}:{:02}:{:02}.{micro:06}Z",
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    };
    let mut record = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": uid(rng),
        "stage": "ResponseComplete", "requestURI": uri, "verb": verb,
        "user": {"username": user, "groups": groups},
        "sourceIPs": [format!("10.0.{}.{}", rng.random_range(0..4), rng.random_range(2..250))],
        "userAgent": agent,
        "objectRef": {"resource": resource, "namespace": namespace, "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": if refused { 403 } else { 200 }},
        "requestReceivedTimestamp": stamp(micro), "stageTimestamp": stamp(micro + 4_321),
        "annotations": {
            "authorization.k8s.io/decision": if refused { "forbid" } else { "allow" },
            "authorization.k8s.io/reason": match refused {
                true => String::new(),
                false => format!("RBAC: allowed by ClusterRoleBinding \"{resource}-reader\" of ClusterRole \"view\" to {user}"),
            },
        },
    });
    if user.starts_with("system:serviceaccount:") {
        record["user"]["uid"] = json!(uid(rng));
        record["user"]["extra"] = json!({
            "authentication.kubernetes.io/credential-id": [format!("JTI={}", uid(rng))],
            "authentication.kubernetes.io/node-name": ["ip-10-0-3-17.internal"],
            "authentication.kubernetes.io/pod-name": [format!("worker-{:x}", rng.random::<u16>())],
        });
    }
    if one {
        record["objectRef"]["name"] = json!(name);
    }
    if !group.is_empty() {
        record["objectRef"]["apiGroup"] = json!(group);
    }
    if refused {
        record["responseStatus"]["status"] = json!("Failure");
        record["responseStatus"]["reason"] = json!("Forbidden");
        record["responseStatus"]["message"] = json!(format!(
            "{resource} \"{name}\" is forbidden: User \"{user}\" cannot {verb} resource \"{resource}\""
        ));
    } else if matches!(verb, "create" | "update" | "patch") && resource != "secrets" {
        let body = object(rng, resource, namespace, &name);
        record["level"] = json!("RequestResponse");
        record["requestObject"] = body.clone();
        record["responseObject"] = body;
        record["responseObject"]["metadata"]["uid"] = json!(uid(rng));
        record["responseObject"]["metadata"]["resourceVersion"] = json!(rng.random::<u32>().to_string());
    }
    record
}

/// What is written: a workload with one container.
fn object(rng: &mut impl Rng, resource: &str, namespace: &str, name: &str) -> Value {
    let container = json!({
        "name": "main", "image": format!("registry.example.com/ml/trainer:{}", rng.random_range(1..400)),
        "command": ["python", "-m", "trainer"], "args": ["--epochs", "3", "--data", "s3://training-data/set-7"],
        "env": [{"name": "LOG_LEVEL", "value": "info"}, {"name": "NOTE", "value": "first line\nsecond \"line\""}],
        "resources": {"limits": {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}, "requests": {"cpu": "2", "memory": "8Gi"}},
        "imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log",
    });
    json!({
        "kind": resource, "apiVersion": "v1",
        "metadata": {
            "name": name, "namespace": namespace,
            "labels": {"app.kubernetes.io/name": name, "app.kubernetes.io/managed-by": "Helm", "team": "ml"},
            "creationTimestamp": "2026-03-02T08:00:00Z",
        },
        "spec": {
            "replicas": rng.random_range(1..5), "restartPolicy": "Always", "serviceAccountName": "trainer",
            "containers": [container], "nodeSelector": {"kubernetes.io/os": "linux"}, "terminationGracePeriodSeconds": 30,
        },
    })
}
