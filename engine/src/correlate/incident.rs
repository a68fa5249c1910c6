//! A component of linked detections → an incident: seed, score, title, path.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::config::CorrelateSettings;
use crate::model::incident::FINDINGS_MAX;
use crate::model::{Detection, Entity, Finding, Incident, IncidentStatus, PathStep, ScorePart, Severity, time};

use super::graph::{Step, TenantGraph, ends};
use super::link::Link;

/// Steps that a path shows; the rest is counted in the last step's reason.
const PATH_STEPS_MAX: usize = 200;
/// Entities that an incident lists.
const ENTITIES_MAX: usize = 500;

type Component = BTreeMap<Arc<str>, Vec<Link>>;

/// The incident that `component` makes, or `None` when it is a single detection below the severity that stands alone.
pub fn assemble(
    tenant: &str,
    graph: &TenantGraph,
    component: &Component,
    settings: &CorrelateSettings,
) -> Option<Incident> {
    let mut members: Vec<&Detection> = component
        .keys()
        .filter_map(|id| Some(&graph.member(id)?.detection))
        .collect();
    members.sort_by_key(|detection| (detection.time, &detection.detection_id));
    let seed = *members.first()?;
    if members.len() < 2 && seed.severity < settings.single_severity {
        return None;
    }
    let score_parts = score(&members);
    let score = score_parts.iter().map(|part| part.points).sum::<f64>().min(100.0);
    let worst = members
        .iter()
        .map(|detection| detection.severity)
        .max()
        .unwrap_or(Severity::Informational);
    let layers: BTreeSet<&str> = members.iter().map(|detection| detection.layer.as_str()).collect();
    let mut entities = BTreeSet::new();
    for roled in members.iter().flat_map(|detection| &detection.entities) {
        if entities.len() < ENTITIES_MAX {
            entities.insert(roled.entity.to_string());
        }
    }
    let path = path(graph, component, &members);
    Some(Incident {
        incident_id: Incident::id_of(tenant, &seed.detection_id).to_string(),
        tenant: tenant.to_owned(),
        revision: 0,
        status: IncidentStatus::Open,
        severity: band(score).max(worst),
        score,
        score_parts,
        title: title(&members, &layers),
        first_time: seed.time,
        last_time: members.last().map_or(seed.time, |last| last.time),
        techniques: techniques(&members),
        entities: entities.into_iter().collect(),
        layers: layers.into_iter().map(str::to_owned).collect(),
        detection_ids: members.iter().map(|detection| detection.detection_id.clone()).collect(),
        merged_into: None,
        findings: findings(&members, &path),
        path,
    })
}

/// What an alert tells of the members, which are ordered by (time, id).
pub fn findings(members: &[&Detection], path: &[PathStep]) -> Vec<Finding> {
    let steps: BTreeSet<&str> = path.iter().filter_map(|step| step.detection_id.as_deref()).collect();
    let mut told = members.to_vec();
    if told.len() > FINDINGS_MAX {
        told.sort_by_key(|member| !steps.contains(member.detection_id.as_str()));
        told.truncate(FINDINGS_MAX);
        told.sort_by_key(|member| (member.time, &member.detection_id));
    }
    told.into_iter().map(finding).collect()
}

fn finding(detection: &Detection) -> Finding {
    Finding {
        detection_id: detection.detection_id.clone(),
        time: detection.time,
        plugin: detection.plugin.clone(),
        plugin_version: detection.plugin_version.clone(),
        rule: detection.rule.clone(),
        severity: detection.severity,
        title: detection.title.clone(),
        message: detection.message.clone(),
        techniques: detection.techniques.clone(),
        layer: detection.layer.clone(),
    }
}

/// Points for the worst finding, by severity.
fn severity_points(severity: Severity) -> f64 {
    match severity {
        Severity::Informational => 5.0,
        Severity::Low => 15.0,
        Severity::Medium => 30.0,
        Severity::High => 50.0,
        Severity::Critical => 70.0,
    }
}

/// The severity that a score amounts to. One finding alone stays in its own band; breadth lifts an incident by one.
fn band(score: f64) -> Severity {
    match score {
        85.0.. => Severity::Critical,
        60.0.. => Severity::High,
        35.0.. => Severity::Medium,
        15.0.. => Severity::Low,
        _ => Severity::Informational,
    }
}

/// Points for each technique after the first, and the most that techniques can add.
const TECHNIQUE_POINTS: (f64, f64) = (4.0, 20.0);
/// Points for each layer of the stack after the first, and the most that layers can add.
const LAYER_POINTS: (f64, f64) = (8.0, 24.0);

fn score(members: &[&Detection]) -> Vec<ScorePart> {
    let mut parts = Vec::new();
    if let Some(worst) = members
        .iter()
        .max_by(|a, b| a.severity.cmp(&b.severity).then(b.time.cmp(&a.time)))
    {
        let why = format!(
            "the worst finding is {}: {}",
            worst.severity.text().to_lowercase(),
            worst.title
        );
        parts.push(ScorePart {
            name: "severity".into(),
            points: severity_points(worst.severity),
            why,
        });
    }
    let techniques = techniques(members);
    let layers: BTreeSet<&str> = members.iter().map(|detection| detection.layer.as_str()).collect();
    for (name, count, (each, most)) in [
        ("techniques", techniques.len(), TECHNIQUE_POINTS),
        ("layers", layers.len(), LAYER_POINTS),
    ] {
        if count > 1 {
            let points = ((count - 1) as f64 * each).min(most);
            parts.push(ScorePart {
                name: name.into(),
                points,
                why: format!("{count} different {name}"),
            });
        }
    }
    parts
}

fn techniques(members: &[&Detection]) -> Vec<String> {
    let mut techniques = Vec::new();
    for technique in members.iter().flat_map(|detection| &detection.techniques) {
        if !techniques.contains(technique) {
            techniques.push(technique.clone());
        }
    }
    techniques
}

fn title(members: &[&Detection], layers: &BTreeSet<&str>) -> String {
    let worst = members.iter().max_by(|a, b| {
        a.severity
            .cmp(&b.severity)
            .then((b.time, &b.detection_id).cmp(&(a.time, &a.detection_id)))
    });
    let Some(worst) = worst else { return String::new() };
    let rules: BTreeSet<(&str, &str)> = members
        .iter()
        .map(|detection| (detection.plugin.as_str(), detection.rule.as_str()))
        .collect();
    let mut title = worst.title.clone();
    match rules.len() {
        0 | 1 => {}
        2 => title.push_str(" and 1 other kind of finding"),
        more => title.push_str(&format!(" and {} other kinds of finding", more - 1)),
    }
    if layers.len() > 1 {
        title.push_str(&format!(
            " across {}",
            layers.iter().copied().collect::<Vec<_>>().join(", ")
        ));
    }
    title
}

/// What a detection shows, apart from when: repeats of it fold into one step.
type Kind<'a> = (&'a str, &'a str, String, String, &'a str);

struct Fold<'a> {
    first: &'a Detection,
    from: String,
    to: String,
    last: &'a Detection,
    count: usize,
    why: String,
}

/// The path: detections by time, repeats folded, with the relations that led from one to the next in between.
fn path(graph: &TenantGraph, component: &Component, members: &[&Detection]) -> Vec<PathStep> {
    let reasons = reasons(graph, component, members);
    let mut folds: BTreeMap<Kind, Fold> = BTreeMap::new();
    let mut relations: BTreeMap<(i64, String, String, String), String> = BTreeMap::new();
    for &detection in members {
        let (from, to) = ends(detection);
        let text = |entity: Option<&crate::model::Entity>| entity.map(ToString::to_string).unwrap_or_default();
        let (from, to) = (text(from), text(to));
        let kind = (
            &*detection.plugin,
            &*detection.rule,
            from.clone(),
            to.clone(),
            &*detection.action,
        );
        let (why, steps) = reasons
            .get(detection.detection_id.as_str())
            .cloned()
            .unwrap_or_default();
        match folds.get_mut(&kind) {
            Some(fold) => {
                fold.last = detection;
                fold.count += 1;
            }
            None => {
                folds.insert(
                    kind,
                    Fold {
                        first: detection,
                        from,
                        to,
                        last: detection,
                        count: 1,
                        why,
                    },
                );
                for step in steps {
                    let (from, to) = if step.forward {
                        (step.from, step.to)
                    } else {
                        (step.to, step.from)
                    };
                    let text = |node| graph.node(node).entity.to_string();
                    let key = (step.first_time, text(from), step.kind.to_string(), text(to));
                    relations
                        .entry(key)
                        .or_insert_with(|| format!("joins \"{}\" to the rest", detection.title));
                }
            }
        }
    }
    let mut steps: Vec<PathStep> = folds.into_values().map(detection_step).collect();
    steps.extend(
        relations
            .into_iter()
            .map(|((time, from_entity, action, to_entity), why)| PathStep {
                step: 0,
                time,
                from_entity,
                to_entity,
                action,
                technique: None,
                detection_id: None,
                why,
            }),
    );
    number(steps)
}

fn detection_step(fold: Fold) -> PathStep {
    let Fold {
        first,
        from,
        to,
        last,
        count,
        why,
    } = fold;
    let mut why = format!("{}: {}; {why}", first.title, first.message);
    if count > 1 {
        why.push_str(&format!("; {count} times until {}", time::to_rfc3339(last.time)));
    }
    PathStep {
        step: 0,
        time: first.time,
        from_entity: from,
        to_entity: to,
        action: first.action.clone(),
        technique: (!first.techniques.is_empty()).then(|| first.techniques.join(", ")),
        detection_id: Some(first.detection_id.clone()),
        why,
    }
}

fn number(mut steps: Vec<PathStep>) -> Vec<PathStep> {
    steps.sort_by(|a, b| {
        let key = |step: &PathStep| {
            (
                step.time,
                step.detection_id.is_none(),
                step.detection_id.clone(),
                step.from_entity.clone(),
                step.action.clone(),
                step.to_entity.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    let more = steps.len().saturating_sub(PATH_STEPS_MAX);
    steps.truncate(PATH_STEPS_MAX);
    if more > 0
        && let Some(last) = steps.last_mut()
    {
        last.why.push_str(&format!("; {more} more steps are not shown"));
    }
    for (index, step) in steps.iter_mut().enumerate() {
        step.step = index as u32 + 1;
    }
    steps
}

type Reasons<'a> = BTreeMap<&'a str, (String, Vec<Step>)>;

/// For each member the link by which a walk from the seed first reaches it, in words and as relations.
fn reasons<'a>(graph: &TenantGraph, component: &'a Component, members: &[&'a Detection]) -> Reasons<'a> {
    let mut reasons: Reasons = BTreeMap::new();
    let Some(seed) = members.first() else { return reasons };
    // A link found from one side holds for both.
    let mut both: BTreeMap<&str, Vec<(&str, &Link)>> = BTreeMap::new();
    for (id, links) in component {
        for link in links {
            both.entry(id).or_default().push((&link.to, link));
            both.entry(&link.to).or_default().push((id, link));
        }
    }
    let when = |id: &str| graph.member(id).map(|member| member.detection.time);
    reasons.insert(&seed.detection_id, ("the first finding".to_owned(), Vec::new()));
    let mut queue: VecDeque<&str> = VecDeque::from([seed.detection_id.as_str()]);
    while let Some(id) = queue.pop_front() {
        let mut links = both.remove(id).unwrap_or_default();
        // Shared entities before relations, then the earliest, so that the reason does not depend on how the graph was built.
        links.sort_by_key(|(to, link)| (link.steps.len(), when(to), *to, graph.node(link.anchor).entity.clone()));
        for (to, link) in links {
            if reasons.contains_key(to) {
                continue;
            }
            let title = graph
                .member(id)
                .map(|member| member.detection.title.as_str())
                .unwrap_or_default();
            let (why, steps) = match (shared_entity(graph, id, to, link), link.steps.as_slice()) {
                (Some(entity), _) => (format!("same {entity} as \"{title}\""), Vec::new()),
                (None, steps) => (
                    format!("joined to \"{title}\" because {}", words(graph, steps)),
                    steps.to_vec(),
                ),
            };
            reasons.insert(to, (why, steps));
            queue.push_back(to);
        }
    }
    reasons
}

/// The entity that says more than the relations of `link`: the one that is the link, or, where several relations would have to be told,
/// one that both detections name all the same. No link says so when other detections on that entity lie between the two.
fn shared_entity<'a>(graph: &'a TenantGraph, id: &str, to: &str, link: &Link) -> Option<&'a Entity> {
    match link.steps.len() {
        0 => return Some(&graph.node(link.anchor).entity),
        1 => return None,
        _ => {}
    }
    let (one, other) = (graph.member(id)?, graph.member(to)?);
    let specific = |node| {
        [one, other]
            .into_iter()
            .all(|member| graph.specific(node, member.detection.time))
    };
    let both = one.anchors.iter().filter(|anchor| other.anchors.contains(anchor));
    both.filter(|anchor| specific(**anchor))
        .map(|anchor| &graph.node(*anchor).entity)
        .min()
}

fn words(graph: &TenantGraph, steps: &[Step]) -> String {
    let say = |step: &Step| {
        let (from, to) = if step.forward {
            (step.from, step.to)
        } else {
            (step.to, step.from)
        };
        let (from, to) = (&graph.node(from).entity, &graph.node(to).entity);
        format!("{from} {} {to} at {}", step.kind, time::to_rfc3339(step.first_time))
    };
    steps.iter().map(say).collect::<Vec<_>>().join(", ")
}
