//! Roles and who is given them.

use sentrail_plugin::json::Value;

use crate::{Found, Request, rules};

/// Verbs with which rights are taken that were not given.
const ESCALATING: [&str; 3] = ["escalate", "bind", "impersonate"];
const WRITING: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];
/// Resources that open every pod.
const INTO_PODS: [&str; 4] = ["pods/exec", "pods/attach", "pods/ephemeralcontainers", "nodes/proxy"];
/// Roles of every cluster that may do nearly everything.
const POWERFUL: [&str; 1] = ["cluster-admin"];
/// Roles that may change nearly everything where they are bound; bound for all namespaces they are nearly as much.
const WIDE: [&str; 2] = ["admin", "edit"];
/// A group that no role can restrict.
const MASTERS: &str = "system:masters";
/// Roles of the cluster's own that its upgrades change.
const UPGRADED: [&str; 2] = ["system:coredns", "system:managed-certificate-controller"];
/// Subjects that are everybody.
const EVERYBODY: [&str; 3] = ["system:anonymous", "system:unauthenticated", "system:authenticated"];

pub fn role(request: &Request, found: &mut Found) {
    let name = request.path.split('?').next().unwrap_or_default().rsplit('/').next();
    if name.is_some_and(|name| name.starts_with("system:") && !UPGRADED.contains(&name))
        && !request.creates()
        && !reads(request.verb)
    {
        found.push((
            &rules::SYSTEM_ROLE,
            format!("{} changed a role of the cluster's own", request.actor),
        ));
    }
    if !request.changes() {
        return;
    }
    let all: Vec<&Value> = request.object()["rules"].as_array().into_iter().flatten().collect();
    let holds = |member: &str, wanted: &[&str]| {
        all.iter()
            .flat_map(|rule| texts(&rule[member]))
            .find(|text| wanted.contains(text))
    };
    if holds("resources", &["*"]).is_some() || holds("verbs", &["*"]).is_some() {
        found.push((
            &rules::ROLE,
            "the role allows everything, or everything on something".to_owned(),
        ));
    } else if let Some(verb) = holds("verbs", &ESCALATING) {
        found.push((&rules::ROLE, format!("the role allows to {verb}")));
    } else if let Some(resource) = holds("resources", &INTO_PODS) {
        found.push((&rules::ROLE, format!("the role allows {resource}")));
    } else if let Some(verb) = holds("verbs", &WRITING) {
        found.push(match request.resource {
            "clusterroles" => (
                &rules::WRITING_ROLE,
                format!("the role allows to {verb} in all namespaces"),
            ),
            _ => (&rules::WRITING_NAMESPACE_ROLE, format!("the role allows to {verb}")),
        });
    }
}

pub fn binding(request: &Request, found: &mut Found) {
    let role = request.object()["roleRef"]["name"].as_str().unwrap_or_default();
    let subjects = request.object()["subjects"].as_array().into_iter().flatten();
    let names: Vec<&str> = subjects.filter_map(|subject| subject["name"].as_str()).collect();
    let wide = request.resource == "clusterrolebindings" && WIDE.contains(&role);
    let mut names = names.into_iter();
    if POWERFUL.contains(&role) || wide || names.clone().any(|name| name == MASTERS) {
        found.push((
            &rules::BOUND,
            format!("{role} was given to {}", names.next().unwrap_or("somebody")),
        ));
    } else if let Some(everybody) = names.find(|name| EVERYBODY.contains(name)) {
        found.push((&rules::BOUND, format!("{role} was given to {everybody}")));
    }
}

fn reads(verb: &str) -> bool {
    matches!(verb, "get" | "list" | "watch")
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}
