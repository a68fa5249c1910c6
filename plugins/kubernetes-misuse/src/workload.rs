//! Pods, and what makes pods: what they may do to the node that runs them.

use std::collections::BTreeSet;

use sentrail_plugin::json::Value;

use crate::{Config, Found, Request, rules};

/// Where each kind of object holds the specification of its pods.
fn pod_spec<'a>(request: &'a Request) -> Option<&'a Value> {
    let pointer = match request.resource {
        "pods" => "/spec",
        "deployments" | "daemonsets" | "statefulsets" | "replicasets" | "replicationcontrollers" | "jobs" => {
            "/spec/template/spec"
        }
        "cronjobs" => "/spec/jobTemplate/spec/template/spec",
        _ => return None,
    };
    request.object().pointer(pointer)
}

/// What a controller made a pod for: its owner, else its name without what makes it unique.
pub fn family<'a>(request: &'a Request) -> Option<&'a str> {
    let metadata = &request.object()["metadata"];
    let owner = metadata["ownerReferences"][0]["name"].as_str();
    let named = || metadata["generateName"].as_str().map(|name| name.trim_end_matches('-'));
    owner
        .or_else(named)
        .or_else(|| Some(metadata["name"].as_str()?.rsplit_once('-')?.0))
        .filter(|name| !name.is_empty())
}

/// Capabilities with which a process gets out of its container, sees other processes' memory or the node's traffic.
const CAPABILITIES: [&str; 8] = [
    "ALL",
    "SYS_ADMIN",
    "SYS_MODULE",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "NET_ADMIN",
    "DAC_READ_SEARCH",
    "BPF",
];

/// Paths of the node that hold its credentials, its configuration or the socket of its container runtime; what is below them counts.
const SENSITIVE: [&str; 9] = [
    "/etc",
    "/root",
    "/proc",
    "/sys",
    "/boot",
    "/dev",
    "/home",
    "/var/lib/kubelet",
    "/var/lib/etcd",
];
/// Ends of paths of container runtimes' sockets.
const SOCKETS: [&str; 5] = [
    "docker.sock",
    "containerd.sock",
    "crio.sock",
    "cri-dockerd.sock",
    "podman.sock",
];

/// An image that no part of a platform is made of: of Docker's public library, which has neither registry nor owner in its name.
pub fn foreign_image<'a>(request: &'a Request) -> Option<&'a str> {
    images(pod_spec(request)?).find(|image| {
        let name = short(image);
        !name.contains('/') && !name.is_empty()
    })
}

fn images(spec: &Value) -> impl Iterator<Item = &str> {
    let containers = ["containers", "initContainers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|kind| list(&spec[kind]));
    containers.filter_map(|container| container["image"].as_str())
}

/// An image's name as people write it: without the registry that is meant where none is named.
fn short(image: &str) -> &str {
    [
        "docker.io/library/",
        "docker.io/",
        "index.docker.io/library/",
        "index.docker.io/",
    ]
    .iter()
    .find_map(|registry| image.strip_prefix(registry))
    .unwrap_or(image)
}

/// Registry and name of an image, without what says which version: `registry:5000/a/b:1@sha256:…` is `registry:5000/a/b`.
fn repository(image: &str) -> &str {
    let named = image.split('@').next().unwrap_or_default();
    match named.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => before,
        _ => named,
    }
}

/// Whether an image is of another registry than Docker Hub, which need not be named.
fn names_registry(image: &str) -> bool {
    let first = image.split_once('/').map(|(first, _)| first);
    first.is_some_and(|first| first == "localhost" || first.contains(['.', ':']))
}

fn is_listed(image: &str, list: &[String]) -> bool {
    let image = short(image);
    list.iter().any(|allowed| match allowed.strip_suffix('*') {
        Some(beginning) => {
            let rest = short(beginning);
            // Without the name of Docker Hub a pattern would mean every registry.
            let is_hub = rest.len() < beginning.len();
            let is_official = beginning.contains("docker.io/library/");
            image.starts_with(rest) && (!is_hub || (!names_registry(image) && (!is_official || !image.contains('/'))))
        }
        None => [image, repository(image)].contains(&short(allowed)),
    })
}

pub fn judge(request: &Request, config: &Config, found: &mut Found) {
    let Some(spec) = pod_spec(request) else {
        return;
    };
    if let Some(why) = privilege(spec) {
        found.push((&rules::PRIVILEGED, why));
    }
    let paths = list(&spec["volumes"]).filter_map(|volume| volume["hostPath"]["path"].as_str());
    if let Some(path) = paths.into_iter().find(|path| is_sensitive(path)) {
        found.push((&rules::HOST_PATH, format!("the node's {path} is mounted")));
    }
    let allowed = &config.allowed_images;
    if !allowed.is_empty() {
        let unlisted: BTreeSet<&str> = images(spec).filter(|image| !is_listed(image, allowed)).collect();
        let unlisted: Vec<&str> = unlisted.into_iter().collect();
        match unlisted.as_slice() {
            [] => {}
            [image] => found.push((&rules::UNLISTED, format!("{image} is not on the list of images"))),
            images => {
                let images = images.join(", ");
                found.push((&rules::UNLISTED, format!("{images} are not on the list of images")));
            }
        }
    }
    if request.creates() && request.is_in_system_namespace() {
        let place = request.namespace.unwrap_or_default();
        found.push((
            &rules::SYSTEM_WORKLOAD,
            format!("{} runs something in {place}", request.actor),
        ));
    }
}

/// What lets the pod's processes act on the node.
fn privilege(spec: &Value) -> Option<String> {
    for (name, what) in [
        ("hostPID", "the node's processes"),
        ("hostNetwork", "the node's network"),
        ("hostIPC", "the node's shared memory"),
    ] {
        if spec[name] == true {
            return Some(format!("the pod shares {what}"));
        }
    }
    ["containers", "initContainers", "ephemeralContainers"]
        .iter()
        .flat_map(|kind| list(&spec[*kind]))
        .find_map(|container| {
            let context = &container["securityContext"];
            let name = container["name"].as_str().unwrap_or("?");
            if context["privileged"] == true {
                return Some(format!("container {name} is privileged"));
            }
            let added = list(&context["capabilities"]["add"]).filter_map(Value::as_str);
            let dangerous = added
                .map(|capability| capability.strip_prefix("CAP_").unwrap_or(capability))
                .find(|capability| CAPABILITIES.contains(capability))?;
            Some(format!("container {name} has the capability {dangerous}"))
        })
}

fn is_sensitive(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    path.is_empty()
        || SOCKETS.iter().any(|socket| path.ends_with(socket))
        || SENSITIVE.iter().any(|root| {
            path.strip_prefix(root)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
}

/// The items of a list; none of anything else.
fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::is_listed;

    #[test]
    fn an_image_is_listed_by_name_version_or_beginning() {
        let list = ["nginx", "docker.io/library/redis:7", "registry.example.com:5000/shop/*"].map(str::to_owned);
        for (image, listed) in [
            ("nginx", true),
            ("nginx:1.29@sha256:aa", true),
            ("docker.io/library/nginx:latest", true),
            ("nginx-of-mine", false),
            ("registry.example.org/nginx", false),
            ("redis:7", true),
            ("redis:8", false),
            ("redis", false),
            ("registry.example.com:5000/shop/cart:2", true),
            ("registry.example.com:5000/shopping/cart", false),
            ("registry.example.com/shop/cart:2", false),
            ("", false),
        ] {
            assert_eq!(is_listed(image, &list), listed, "{image:?}");
        }
    }

    #[test]
    fn what_docker_hub_may_have_no_other_registry_may() {
        for (pattern, image, listed) in [
            ("docker.io/*", "nginx:1", true),
            ("docker.io/*", "acme/tool:1", true),
            ("docker.io/*", "registry.example.org/miner", false),
            ("docker.io/*", "localhost/miner", false),
            ("docker.io/library/*", "nginx:1", true),
            ("docker.io/library/*", "acme/tool:1", false),
            ("*", "registry.example.org/tool", true),
        ] {
            assert_eq!(is_listed(image, &[pattern.to_owned()]), listed, "{pattern} {image:?}");
        }
    }
}
