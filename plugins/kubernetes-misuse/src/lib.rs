//! Misuse of a Kubernetes cluster, as its audit log tells it: workloads that reach their host, commands in running pods, rights that
//! are granted, what hides among the cluster's own, and what is open to anybody.
//!
//! Every request is judged by itself. Of one that lasts, such as a command in a pod, what comes first is told and its end is not; of pods that
//! a controller makes of one declaration, the first of a day. What a rule needs to see of an object is in the log where the audit policy's level is
//! `Request` or higher for it; at `Metadata` only the rules that need no object remain.

use std::cell::OnceCell;

use sentrail_plugin::json::{self, Value};
use sentrail_plugin::{Batch, DAY, Detector, Findings, Keyed, Manifest, Rule, Search, col, config};

mod grant;
mod rules;
mod workload;

/// Namespaces of the cluster's own parts, where nobody looks for strangers.
const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// How long a session in a pod may last so that its end is known as its end, event time: the API server ends idle ones after hours.
const SESSION_MAX: i64 = DAY;
/// Sessions and findings remembered per shard.
const TOLD_MAX: usize = 10_000;

config! {
    /// What the cluster's owner allows, which no log says.
    pub struct Config {
        /// Images that may run: `registry.example.com/shop/*`, or a repository of which any version may run, `nginx`. Empty: no list.
        pub allowed_images: Vec<String> = Vec::new(),
    }
}

/// The detector.
pub struct KubernetesMisuse {
    config: Config,
}

/// A request, as a row tells it.
struct Request<'a> {
    verb: &'a str,
    /// `pods`, or with a subresource `pods/exec`.
    resource: &'a str,
    /// The namespace in its path.
    namespace: Option<&'a str>,
    path: &'a str,
    actor: &'a str,
    failed: bool,
    /// The object that was sent, as the log holds it.
    text: &'a str,
    object: OnceCell<Value>,
}

impl Request<'_> {
    /// The object that was sent; null where the log does not hold it. Most requests are leases and states that no rule asks for: so it is
    /// parsed when it is.
    fn object(&self) -> &Value {
        self.object
            .get_or_init(|| json::from_str(self.text).unwrap_or_default())
    }

    fn creates(&self) -> bool {
        self.verb == "create"
    }

    fn changes(&self) -> bool {
        matches!(self.verb, "create" | "update" | "patch")
    }

    fn is_in_system_namespace(&self) -> bool {
        self.namespace.is_some_and(|name| SYSTEM_NAMESPACES.contains(&name))
    }

    /// Part of the control plane: its controllers make pods of what others declared, and nodes mirror their own.
    fn is_by_control_plane(&self) -> bool {
        let controller = self
            .actor
            .strip_prefix("system:serviceaccount:kube-system:")
            .is_some_and(|name| name.ends_with("-controller"));
        controller
            || [
                "system:node:",
                "system:kube-",
                "system:apiserver",
                "system:addon-manager",
            ]
            .iter()
            .any(|prefix| self.actor.starts_with(prefix))
    }

    /// What a pod was made for by a controller, which makes as many as there are nodes or are asked for.
    fn family(&self) -> Option<&str> {
        let made = self.resource == "pods" && self.creates() && self.is_by_control_plane();
        made.then(|| workload::family(self)).flatten()
    }

    /// A person, or what came with a person's credentials: no account of the cluster's.
    fn is_by_person(&self) -> bool {
        !self.actor.starts_with("system:")
    }

    /// Whether the request is of what lasts and is logged when it begins and when it ends.
    fn lasts(&self) -> bool {
        matches!(self.resource, "pods/exec" | "pods/attach" | "pods/portforward")
    }

    fn is_anonymous(&self) -> bool {
        matches!(self.actor, "system:anonymous" | "system:unauthenticated")
    }
}

/// The namespace in an API path: `/api/v1/namespaces/NAME/pods`.
fn namespace(path: &str) -> Option<&str> {
    const BEFORE: &str = "/namespaces/";
    let rest = &path[path.place(BEFORE)? + BEFORE.len()..];
    rest.split(['/', '?']).next().filter(|name| !name.is_empty())
}

/// Paths that a cluster answers to anybody unless it is told otherwise: nothing is in them but its health and version.
fn is_public(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    ["/healthz", "/livez", "/readyz", "/version"].iter().any(|public| {
        path.strip_prefix(public)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

type Found = Vec<(&'static Rule, String)>;

fn judge(request: &Request, config: &Config) -> Found {
    let mut found = Found::new();
    if request.is_anonymous() && !request.failed && !is_public(request.path) {
        found.push((
            &rules::ANONYMOUS,
            format!("nobody in particular may {} {}", request.verb, request.path),
        ));
    }
    if request.is_by_control_plane() {
        // The platform's own pods are privileged, too. Everywhere else a controller's pod is what somebody declared, and often the only
        // thing of it in the log.
        if request.resource == "pods" && request.creates() && !request.is_in_system_namespace() {
            workload::judge(request, config, &mut found);
        }
        if request.resource == "pods"
            && request.creates()
            && request.is_in_system_namespace()
            && let Some(image) = workload::foreign_image(request)
        {
            let place = request.namespace.unwrap_or_default();
            found.push((
                &rules::SYSTEM_WORKLOAD,
                format!("{image} was started in {place}, which is no part of a platform"),
            ));
        }
        if request.resource == "nodes" && request.creates() {
            found.push(node(request));
        }
        return found;
    }
    match request.resource {
        "pods/exec" | "pods/attach" => {
            found.push((
                &rules::COMMAND,
                format!("{} ran or joined a command in a pod", request.actor),
            ));
        }
        "pods/portforward" => {
            found.push((&rules::PORT_FORWARD, format!("{} opened a way to a pod", request.actor)));
        }
        "nodes/proxy" => {
            found.push((
                &rules::NODE_PROXY,
                format!("{} asked for {}", request.actor, request.path),
            ));
        }
        "nodes" if request.creates() => found.push(node(request)),
        "namespaces" if request.creates() && request.is_by_person() => {
            found.push((&rules::NAMESPACE, format!("{} made a namespace", request.actor)));
        }
        "serviceaccounts/token" if request.creates() && request.is_by_person() => {
            found.push((&rules::TOKEN, format!("{} asked for {}", request.actor, request.path)));
        }
        "certificatesigningrequests/approval" if request.changes() && request.is_by_person() => {
            found.push((&rules::SIGNED, format!("{} approved {}", request.actor, request.path)));
        }
        "mutatingwebhookconfigurations" | "validatingwebhookconfigurations"
            if request.changes() && request.is_by_person() =>
        {
            found.push((&rules::WEBHOOK, format!("{} changed {}", request.actor, request.path)));
        }
        "ingresses" if request.creates() && is_without_tls(request.object()) => {
            found.push((
                &rules::INGRESS,
                format!("{} made an ingress without TLS", request.actor),
            ));
        }
        "secrets"
            if request.verb == "get"
                && request.is_in_system_namespace()
                && request.is_by_person()
                && !request.failed =>
        {
            found.push((
                &rules::SECRET_OF_SYSTEM,
                format!("{} read {}", request.actor, request.path),
            ));
        }
        "pods/ephemeralcontainers" if request.changes() => {
            found.push((
                &rules::COMMAND,
                format!("{} put a container into a running pod", request.actor),
            ));
        }
        "serviceaccounts" if request.creates() && request.is_in_system_namespace() => {
            let place = request.namespace.unwrap_or_default();
            found.push((&rules::SYSTEM_ACCOUNT, format!("a service account was made in {place}")));
        }
        "roles" | "clusterroles" => grant::role(request, &mut found),
        "rolebindings" | "clusterrolebindings" if request.changes() => grant::binding(request, &mut found),
        "services" if request.changes() => service(request, &mut found),
        "configmaps" if request.changes() => config_map(request, &mut found),
        // Without a namespace in the path these are all namespaces at once.
        "secrets" if request.verb == "list" && request.namespace.is_none() && !request.failed => {
            found.push((
                &rules::SECRETS,
                format!("{} listed the secrets of all namespaces", request.actor),
            ));
        }
        "events" if request.verb.starts_with("delete") => {
            found.push((&rules::EVENTS, format!("{} deleted events", request.actor)));
        }
        _ if request.changes() => workload::judge(request, config, &mut found),
        _ => {}
    }
    found
}

fn node(request: &Request) -> (&'static Rule, String) {
    match request.failed {
        true => (&rules::NODE_REFUSED, format!("{} was refused", request.actor)),
        false => (&rules::NODE_JOINED, format!("{} registered a node", request.actor)),
    }
}

/// Only where the log holds the object.
fn is_without_tls(object: &Value) -> bool {
    object["spec"].is_object() && object["spec"]["tls"].as_array().is_none_or(Vec::is_empty)
}

fn service(request: &Request, found: &mut Found) {
    let spec = &request.object()["spec"];
    if spec["type"] == "NodePort" {
        found.push((
            &rules::NODE_PORT,
            "a service listens on a port of every node".to_owned(),
        ));
    }
    if spec["externalIPs"].as_array().is_some_and(|list| !list.is_empty()) {
        found.push((
            &rules::NODE_PORT,
            "a service takes the traffic of addresses of its choice".to_owned(),
        ));
    }
}

/// Parts of names under which credentials are kept.
const CREDENTIALS: [&str; 7] = [
    "password",
    "passphrase",
    "passwd",
    "secretaccesskey",
    "accesskeyid",
    "apikey",
    "privatekey",
];

fn config_map(request: &Request, found: &mut Found) {
    for data in ["data", "stringData"] {
        for (name, value) in request.object()[data].as_object().into_iter().flatten() {
            let text = value.as_str().unwrap_or_default();
            let held = named_credential(name).or_else(|| text.lines().find_map(assigned_credential));
            if let Some(credential) = held {
                let message = format!("the value of `{name}` holds or is a {credential}");
                return found.push((&rules::CREDENTIALS, message));
            }
        }
    }
}

/// `password = …`, `"apiKey": …`: a name of a credential before the sign, and something behind it.
fn assigned_credential(line: &str) -> Option<&'static str> {
    let (name, value) = line.split_once(['=', ':'])?;
    named_credential(name).filter(|_| !value.trim().is_empty())
}

fn named_credential(name: &str) -> Option<&'static str> {
    let letters = name.bytes().filter(u8::is_ascii_alphanumeric);
    let plain: String = letters.map(|byte| byte.to_ascii_lowercase() as char).collect();
    CREDENTIALS.into_iter().find(|credential| plain.holds(credential))
}

impl Detector for KubernetesMisuse {
    type Config = Config;
    /// Sessions of which the beginning was told, by audit id, and what was told of the pods of one declaration and of images.
    type State = Keyed<bool>;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Self { config })
    }

    fn manifest(&self) -> Manifest {
        Manifest {
            id: "kubernetes-misuse",
            version: env!("CARGO_PKG_VERSION"),
            description: "Workloads that reach their host, commands in pods, rights granted, and what is open to anybody in a Kubernetes cluster.",
            layers: &["kubernetes"],
            columns: &[
                col::API_OPERATION.name,
                col::STATUS.name,
                col::ACTOR_USER_UID.name,
                col::HTTP_REQUEST_URL_PATH.name,
                col::API_REQUEST_DATA.name,
                col::API_REQUEST_UID.name,
            ],
            // The pods of one declaration are made by one controller, and a session begins and ends with the same actor.
            key: &[col::ACTOR_USER_UID.name, col::API_REQUEST_UID.name],
            rules: rules::ALL,
            ..Manifest::EMPTY
        }
    }

    fn detect(&self, told: &mut Keyed<bool>, batch: &Batch, out: &mut Findings) {
        let operations = batch.text(col::API_OPERATION);
        let statuses = batch.text(col::STATUS);
        let actors = batch.text(col::ACTOR_USER_UID);
        let paths = batch.text(col::HTTP_REQUEST_URL_PATH);
        let ids = batch.text(col::API_REQUEST_UID);
        let objects = batch.text(col::API_REQUEST_DATA);
        for row in batch.rows() {
            // A request that is only received is logged once more when it is answered, then with a status.
            let (Some(operation), Some(status)) = (operations.get(row), statuses.get(row)) else {
                continue;
            };
            let (verb, resource) = operation.split_once(' ').unwrap_or((operation, ""));
            let path = paths.get(row).unwrap_or_default();
            let failed = status == "Failure";
            let request = Request {
                verb,
                resource,
                namespace: namespace(path),
                path,
                actor: actors.get(row).unwrap_or("somebody"),
                failed,
                text: objects.get(row).unwrap_or_default(),
                object: OnceCell::new(),
            };
            let time = batch.time(row);
            let mut repeats = |what: String| match batch.key(row) {
                Some(key) => {
                    let known = told.at(&format!("{key}\0{what}"), time, TOLD_MAX, SESSION_MAX);
                    std::mem::replace(known, true)
                }
                None => false,
            };
            if let Some(id) = ids.get(row).filter(|_| request.lasts())
                && repeats(format!("session\0{id}"))
            {
                continue;
            }
            for (rule, message) in judge(&request, &self.config) {
                // What runs an image is put again and again, with a replica more or another variable.
                let again = request
                    .family()
                    .or_else(|| (rule.id == rules::UNLISTED.id).then_some(request.resource));
                if let Some(family) = again {
                    let (day, place) = (time.div_euclid(DAY), request.namespace.unwrap_or_default());
                    if repeats(format!("{day}\0{place}\0{family}\0{failed}\0{}\0{message}", rule.id)) {
                        continue;
                    }
                }
                // Whoever declared the pod is not in the request: the declaration weighs more, and comes once.
                let severity = if failed || request.is_by_control_plane() {
                    rule.severity.lower()
                } else {
                    rule.severity
                };
                out.detect(rule, row).severity(severity).message(message);
            }
        }
    }
}

sentrail_plugin::export!(KubernetesMisuse);

#[cfg(test)]
mod tests {
    use super::*;

    sentrail_plugin::test_fixtures!(KubernetesMisuse);

    #[test]
    fn only_objects_that_a_rule_asks_for_are_parsed() {
        for (verb, resource, parsed) in [
            ("update", "leases", false),
            ("patch", "pods/status", false),
            ("create", "events", false),
            ("get", "roles", false),
            ("create", "pods", true),
            ("patch", "services", true),
        ] {
            let request = Request {
                verb,
                resource,
                namespace: Some("shop"),
                path: "/api/v1/namespaces/shop/x",
                actor: "mallory",
                failed: false,
                text: "{}",
                object: OnceCell::new(),
            };
            judge(&request, &Config::default());
            assert_eq!(request.object.get().is_some(), parsed, "{verb} {resource}");
        }
    }
}
