//! Linked detections → an incident: seed, score, title, path.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ahash::RandomState;

use crate::config::CorrelateSettings;
use crate::model::incident::FINDINGS_MAX;
use crate::model::{Case, Detection, Entity, Finding, Incident, IncidentStatus, Micros, PathStep, Severity, time};

use super::divide::Group;
use super::graph::{Member, TenantGraph, ends};
use super::placed::Placed;
use super::reason::Reasons;
use super::score::{band, score};

/// Steps that a path shows; the rest is counted in the last step's reason.
const PATH_STEPS_MAX: usize = 200;
/// Entities that an incident lists.
const ENTITIES_MAX: usize = 500;

pub struct Assembled {
    pub incident: Incident,
    /// What the path says may change with relations alone, and not only with findings.
    pub is_led: bool,
}

/// The incident that `group` makes, or `None` when it is below the severity that stands alone and only one thing is told by it, nothing but
/// what informs, or what chance makes.
pub fn assemble(tenant: &str, graph: &TenantGraph, group: &Group, settings: &CorrelateSettings) -> Option<Assembled> {
    let numbers = &group.members;
    let placed: Vec<&Placed> = numbers.iter().filter_map(|member| graph.placed(*member)).collect();
    let members: Vec<&Detection> = placed.iter().map(|placed| &placed.detection).collect();
    let seed = *members.first()?;
    let worst = members
        .iter()
        .map(|detection| detection.severity)
        .max()
        .unwrap_or(Severity::Informational);
    let is_chance = group.chance > chance_max(worst, settings);
    let alone = is_chance || is_one_thing(&placed) || worst == Severity::Informational;
    if alone && worst < settings.single_severity {
        return None;
    }
    let score_parts = score(&members, group.chance, settings);
    let score = score_parts.iter().map(|part| part.points).sum::<f64>().min(100.0);
    let layers = layers(&members);
    let mut entities: HashSet<&Entity, RandomState> = HashSet::default();
    for roled in members.iter().flat_map(|detection| &detection.entities) {
        if entities.len() < ENTITIES_MAX {
            entities.insert(&roled.entity);
        }
    }
    let mut entities: Vec<String> = entities.into_iter().map(ToString::to_string).collect();
    entities.sort();
    let (path, is_led) = path(graph, numbers, settings);
    let incident = Incident {
        incident_id: Incident::id_of(tenant, &seed.detection_id).to_string(),
        tenant: tenant.to_owned(),
        revision: 0,
        status: IncidentStatus::Open,
        severity: band(score).max(worst),
        score,
        score_parts,
        title: title(&members, &layers),
        first_time: seed.time,
        last_time: placed
            .iter()
            .map(|placed| placed.last_time())
            .max()
            .unwrap_or(seed.time),
        techniques: techniques(&members),
        entities,
        layers: layers.into_iter().map(str::to_owned).collect(),
        detection_ids: members.iter().map(|detection| detection.detection_id.clone()).collect(),
        folds: placed.iter().map(|placed| placed.fold).collect(),
        detection_count: placed.iter().map(|placed| placed.count() as u64).sum(),
        merged_into: None,
        findings: findings(&members, &path),
        path,
        case: Case::default(),
    };
    Some(Assembled { incident, is_led })
}

/// How often a day chance may make an incident. A finding of high severity is believed sooner than one of medium.
pub fn chance_max(worst: Severity, settings: &CorrelateSettings) -> f64 {
    let times = match worst {
        Severity::Informational | Severity::Low => 0.3,
        Severity::Medium => 1.0,
        Severity::High | Severity::Critical => 3.0,
    };
    settings.chance_max * times
}

/// Whether nothing is linked to anything else: repeats of a finding are one step of a path, and two rules that speak of one event say
/// that it happened and not that something followed.
fn is_one_thing(members: &[&Placed]) -> bool {
    let Some(first) = members.first() else {
        return true;
    };
    let event = |placed: &Placed| placed.detection.event_ids.last().cloned();
    let (kind, decisive) = (Kind::of(&first.detection), event(first));
    members.iter().all(|other| Kind::of(&other.detection) == kind)
        || members
            .iter()
            .all(|other| other.count() == 1 && event(other) == decisive)
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

/// What is found of a source of several layers has none.
pub fn layers<'a>(members: &[&'a Detection]) -> BTreeSet<&'a str> {
    let layers = members.iter().map(|detection| detection.layer.as_str());
    layers.filter(|layer| !layer.is_empty()).collect()
}

pub fn techniques(members: &[&Detection]) -> Vec<String> {
    let mut techniques: Vec<String> = Vec::new();
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
#[derive(PartialEq, Eq, Hash)]
struct Kind<'a> {
    plugin: &'a str,
    rule: &'a str,
    from: Option<&'a Entity>,
    to: Option<&'a Entity>,
    action: &'a str,
}

impl<'a> Kind<'a> {
    fn of(detection: &'a Detection) -> Kind<'a> {
        let (from, to) = ends(detection);
        Kind {
            plugin: &detection.plugin,
            rule: &detection.rule,
            from,
            to,
            action: &detection.action,
        }
    }
}

struct Fold<'a> {
    first: &'a Detection,
    member: Member,
    last: Micros,
    count: usize,
}

/// The path: detections by time, repeats folded, with the relations that led from one to the next in between.
fn path(graph: &TenantGraph, members: &[Member], settings: &CorrelateSettings) -> (Vec<PathStep>, bool) {
    let mut folds: Vec<Fold> = Vec::new();
    let mut places: HashMap<Kind, usize, RandomState> = HashMap::default();
    for &member in members {
        let Some(placed) = graph.placed(member) else { continue };
        let detection = &placed.detection;
        let place = *places.entry(Kind::of(detection)).or_insert(folds.len());
        match folds.get_mut(place) {
            Some(fold) => {
                fold.last = fold.last.max(placed.last_time());
                fold.count += placed.count();
            }
            None => folds.push(Fold {
                first: detection,
                member,
                last: placed.last_time(),
                count: placed.count(),
            }),
        }
    }
    let more = folds.len().saturating_sub(PATH_STEPS_MAX);
    folds.truncate(PATH_STEPS_MAX);
    let mut reasons = Reasons::new(graph, settings.window, members);
    let mut relations: BTreeMap<(i64, String, String, String), String> = BTreeMap::new();
    let mut steps = Vec::new();
    let mut is_led = false;
    for (index, fold) in folds.into_iter().enumerate() {
        if index == 0 {
            steps.push(detection_step(fold, "the first finding"));
            continue;
        }
        let reason = reasons.of(fold.member);
        is_led |= reason.is_led;
        for step in reason.steps {
            let (from, to) = if step.forward {
                (step.from, step.to)
            } else {
                (step.to, step.from)
            };
            let text = |node| graph.node(node).entity.to_string();
            let key = (step.first_time, text(from), step.kind.to_string(), text(to));
            relations
                .entry(key)
                .or_insert_with(|| format!("joins \"{}\" to the rest", fold.first.title));
        }
        steps.push(detection_step(fold, &reason.words));
    }
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
    (number(steps, more), is_led)
}

fn detection_step(fold: Fold, why: &str) -> PathStep {
    let Fold { first, last, count, .. } = fold;
    let (from, to) = ends(first);
    let text = |entity: Option<&Entity>| entity.map(ToString::to_string).unwrap_or_default();
    let mut why = format!("{}: {}; {why}", first.title, first.message);
    if count > 1 {
        why.push_str(&format!("; {count} times until {}", time::to_rfc3339(last)));
    }
    PathStep {
        step: 0,
        time: first.time,
        from_entity: text(from),
        to_entity: text(to),
        action: first.action.clone(),
        technique: (!first.techniques.is_empty()).then(|| first.techniques.join(", ")),
        detection_id: Some(first.detection_id.clone()),
        why,
    }
}

/// `more`: steps that are left out already.
fn number(mut steps: Vec<PathStep>, more: usize) -> Vec<PathStep> {
    steps.sort_by(|a, b| {
        fn key(step: &PathStep) -> (i64, bool, Option<&str>, &str, &str, &str) {
            (
                step.time,
                step.detection_id.is_none(),
                step.detection_id.as_deref(),
                &step.from_entity,
                &step.action,
                &step.to_entity,
            )
        }
        key(a).cmp(&key(b))
    });
    let more = more + steps.len().saturating_sub(PATH_STEPS_MAX);
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
