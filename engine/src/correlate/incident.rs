//! A component of linked detections → an incident: seed, score, title, path.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use crate::config::CorrelateSettings;
use crate::model::incident::FINDINGS_MAX;
use crate::model::{Detection, Entity, Finding, Incident, IncidentStatus, PathStep, ScorePart, Severity, time};

use super::graph::{Lead, Step, TenantGraph, ends};
use super::link::Link;

/// Steps that a path shows; the rest is counted in the last step's reason.
const PATH_STEPS_MAX: usize = 200;
/// Entities that an incident lists.
const ENTITIES_MAX: usize = 500;

type Component = BTreeMap<Arc<str>, Vec<Link>>;

/// The incident that `component` makes, or `None` when it is a single detection below the severity that stands alone, or several that
/// only inform.
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
    let worst = members
        .iter()
        .map(|detection| detection.severity)
        .max()
        .unwrap_or(Severity::Informational);
    let alone = members.len() < 2 || worst == Severity::Informational;
    if alone && worst < settings.single_severity {
        return None;
    }
    let score_parts = score(&members);
    let score = score_parts.iter().map(|part| part.points).sum::<f64>().min(100.0);
    let layers = layers(&members);
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
    let layers = layers(members);
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

/// What is found of a source of several layers has none.
fn layers<'a>(members: &[&'a Detection]) -> BTreeSet<&'a str> {
    let layers = members.iter().map(|detection| detection.layer.as_str());
    layers.filter(|layer| !layer.is_empty()).collect()
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

/// For each member the link by which it is reached from the seed, in words and as relations. Of all links that lead on from what is
/// reached the most telling is taken next, wherever it starts; then the shortest, then the earliest, so that the reason does not
/// depend on how the graph was built.
fn reasons<'a>(graph: &'a TenantGraph, component: &'a Component, members: &[&'a Detection]) -> Reasons<'a> {
    let mut reasons: Reasons = BTreeMap::new();
    // A link found from one side holds for both.
    let mut both: BTreeMap<&str, Vec<(&str, &Link)>> = BTreeMap::new();
    for (id, links) in component {
        for link in links {
            both.entry(id).or_default().push((&link.to, link));
            both.entry(&link.to).or_default().push((id, link));
        }
    }
    let when = |id: &str| graph.member(id).map(|member| member.detection.time);
    let seed = members.first().map(|seed| seed.detection_id.as_str());
    let mut next = seed.map(|seed| (seed, "the first finding".to_owned(), Vec::new()));
    let mut onward = BinaryHeap::new();
    let mut found = Vec::new();
    while let Some((id, why, steps)) = next {
        reasons.insert(id, (why, steps));
        for (to, link) in both.remove(id).unwrap_or_default() {
            if !reasons.contains_key(to) {
                let because = Because::of(graph, id, to, link);
                let order = (
                    because.rank(),
                    link.steps.len(),
                    when(to),
                    to,
                    when(id),
                    id,
                    found.len(),
                );
                onward.push(Reverse(order));
                found.push(because);
            }
        }
        next = None;
        while next.is_none()
            && let Some(Reverse((.., to, _, from, index))) = onward.pop()
        {
            if !reasons.contains_key(to) {
                next = Some((to, found[index].words(graph, from), found[index].steps().to_vec()));
            }
        }
    }
    reasons
}

/// What a link says of two detections.
enum Because<'a> {
    /// Both name the entity.
    Same(&'a Entity),
    /// Relations lead from an entity of the one to an entity of the other.
    Led(&'a [Step]),
}

impl<'a> Because<'a> {
    /// An entity that both name says more than relations around it do, also where no link says so, because other detections on the
    /// entity lie between the two. Only that an identity was handed on is said in any case.
    fn of(graph: &'a TenantGraph, id: &str, to: &str, link: &'a Link) -> Because<'a> {
        if matches!(link.steps.as_slice(), [step] if step.lead == Lead::Flow) {
            return Because::Led(&link.steps);
        }
        let named = |id: &str| {
            graph
                .member(id)
                .map(|member| (member.detection.time, member.anchors.as_slice()))
        };
        let ((time, anchors), (other_time, others)) = (named(id).unwrap_or_default(), named(to).unwrap_or_default());
        let same = anchors
            .iter()
            .filter(|anchor| others.contains(anchor))
            .filter(|anchor| graph.specific(**anchor, time) && graph.specific(**anchor, other_time))
            .map(|anchor| &graph.node(*anchor).entity)
            .min_by_key(|entity| (is_address(entity), *entity));
        same.map_or(Because::Led(&link.steps), Because::Same)
    }

    /// The most telling first: an identity in common, one that was handed on, a common address, everything else.
    fn rank(&self) -> u8 {
        match self {
            Because::Same(entity) if !is_address(entity) => 0,
            Because::Led([step]) if step.lead == Lead::Flow => 1,
            Because::Same(_) => 2,
            Because::Led(_) => 3,
        }
    }

    fn steps(&self) -> &'a [Step] {
        match self {
            Because::Same(_) => &[],
            Because::Led(steps) => steps,
        }
    }

    fn words(&self, graph: &TenantGraph, from: &str) -> String {
        let title = graph
            .member(from)
            .map(|member| member.detection.title.as_str())
            .unwrap_or_default();
        match self {
            Because::Same(entity) => format!("same {entity} as \"{title}\""),
            Because::Led(steps) => format!("joined to \"{title}\" because {}", words(graph, steps)),
        }
    }
}

fn is_address(entity: &Entity) -> bool {
    &*entity.kind == "address"
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
