//! `bridges('incident')`: what has no field in common with an incident and still may be part of the same attack. It lies in another system,
//! right before or after it, further along an attack, and either of the two is rare. A weaker reason than any link, so it joins nothing;
//! each comes with how far it can be trusted.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};

use crate::model::phase::{PHASE_NAMES, phases_of};
use crate::model::time;

/// What lies further apart is not compared.
const GAP_MAX: i64 = 6 * time::HOUR;
/// How often something like it begins is counted over so much time before.
const HISTORY: i64 = 7 * 24 * time::HOUR;
/// A site that is younger is believed to have been quiet for so long before.
const QUIET: i64 = 24 * time::HOUR;
/// What chance puts this near more often than so is not told.
const CHANCE_MAX: f64 = 0.05;
/// What is nearer is not the less likely for it.
const AT_ONCE: i64 = time::MINUTE;

/// How often such comes: for an incident the incidents as severe, for a finding those, repeats as one, of rules that are no more usual than
/// its own. Of the two that are compared the more usual counts, over the time since the incident began and to the other one's: the odds
/// that chance puts none of its like there are those of a Poisson process. Findings that name no layer are of no other system.
pub(super) fn statement() -> String {
    let names: Vec<String> = PHASE_NAMES.iter().map(|name| format!("'{name}'")).collect();
    let names = names.join(", ");
    let expected_max = -(1.0 - CHANCE_MAX).ln();
    format!(
        "WITH own AS (
            SELECT tenant, incident_id, layers, attack_phase(techniques) AS phase,
                   arrow_cast(first_time, 'Int64') AS first, arrow_cast(last_time, 'Int64') AS last
            FROM incidents WHERE incident_id = $incident AND status = 'open' AND cardinality(layers) > 0),
        known AS (
            SELECT i.incident_id, i.title, i.layers, i.techniques, i.first_time, i.last_time,
                   arrow_cast(i.first_time, 'Int64') AS first, arrow_cast(i.last_time, 'Int64') AS last,
                   count(*) OVER (ORDER BY i.severity_id DESC RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS often
            FROM own JOIN incidents i ON i.tenant = own.tenant
            WHERE i.status = 'open' AND arrow_cast(i.first_time, 'Int64') BETWEEN own.first - {HISTORY} AND own.last + {GAP_MAX}),
        counted AS (
            SELECT d.plugin, d.rule, count(DISTINCT coalesce(d.fold, d.detection_id)) AS count, min(arrow_cast(d.time, 'Int64')) AS oldest
            FROM own JOIN stored.detections d ON d.tenant = own.tenant
            WHERE arrow_cast(d.time, 'Int64') BETWEEN own.first - {HISTORY} AND own.last + {GAP_MAX}
            GROUP BY d.plugin, d.rule),
        rules AS (
            SELECT plugin, rule, sum(count) OVER (ORDER BY count RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS often
            FROM counted),
        spans AS (SELECT min(oldest) AS oldest FROM counted),
        alone AS (
            SELECT detection_id, plugin, rule, title, layer, techniques, time, arrow_cast(time, 'Int64') AS at
            FROM (SELECT d.detection_id, d.plugin, d.rule, d.title, d.layer, d.techniques, d.time,
                         row_number() OVER (PARTITION BY coalesce(d.fold, d.detection_id) ORDER BY d.time, d.detection_id) AS number
                  FROM own JOIN detections d ON d.tenant = own.tenant
                  WHERE d.incident_id IS NULL AND d.layer <> ''
                    AND arrow_cast(d.time, 'Int64') BETWEEN own.first - {GAP_MAX} AND own.last + {GAP_MAX})
            WHERE number = 1),
        near AS (
            SELECT incident_id, CAST(NULL AS VARCHAR) AS detection_id, title, layers, attack_phase(techniques) AS phase, first_time, last_time,
                   first, last, often
            FROM known WHERE cardinality(layers) > 0
            UNION ALL
            SELECT NULL AS incident_id, a.detection_id, a.title, make_array(a.layer) AS layers, attack_phase(a.techniques) AS phase,
                   a.time AS first_time, a.time AS last_time, a.at AS first, a.at AS last, r.often
            FROM alone a JOIN rules r ON a.plugin = r.plugin AND a.rule = r.rule),
        pairs AS (
            SELECT own.tenant, n.*, own.phase AS own_phase,
                   n.first > own.first OR (n.first = own.first AND n.phase > own.phase) AS follows,
                   greatest(n.first - own.last, own.first - n.last, 0) AS gap, own.last - own.first AS lasts, greatest(n.often, me.often) AS usual,
                   own.last + {GAP_MAX} - greatest(own.first - {HISTORY}, least(spans.oldest, own.first - {QUIET})) AS span
            FROM own JOIN known me ON me.incident_id = own.incident_id CROSS JOIN spans CROSS JOIN near n
            WHERE (n.incident_id IS NULL OR n.incident_id <> own.incident_id) AND NOT array_has_any(n.layers, own.layers)),
        told AS (
            SELECT *, CAST(usual AS DOUBLE) * greatest(lasts + gap, {AT_ONCE}) / span AS expected FROM pairs
            WHERE gap <= {GAP_MAX} AND CASE WHEN follows THEN own_phase < phase ELSE phase < own_phase END)
        SELECT tenant, incident_id, detection_id, title, first_time, last_time, layers, follows, gap / 1000000 AS gap_seconds,
               make_array({names})[CASE WHEN follows THEN own_phase ELSE phase END] AS from_phase,
               make_array({names})[CASE WHEN follows THEN phase ELSE own_phase END] AS to_phase,
               exp(-expected) AS confidence
        FROM told WHERE expected <= {expected_max}"
    )
}

/// `attack_phase(techniques)`: the furthest phase of an attack that one of them serves, as a number from 1 in the order of an attack; one that
/// serves several counts as the earliest. NULL where none is known.
pub(super) fn attack_phase() -> ScalarUDF {
    let texts = DataType::List(Arc::new(Field::new("item", DataType::Utf8View, true)));
    let of = move |arguments: &[ColumnarValue]| {
        let [techniques] = ColumnarValue::values_to_arrays(arguments)?
            .try_into()
            .map_err(|_| DataFusionError::Internal("attack_phase takes one list".to_owned()))?;
        let phase = |row: usize| {
            let lists = techniques.as_list::<i32>();
            let list = lists.is_valid(row).then(|| lists.value(row))?;
            let list = cast(&list, &DataType::Utf8View).ok()?;
            let furthest = list.as_string_view().iter().flatten().filter_map(earliest).max()?;
            i64::try_from(furthest).ok()
        };
        let phases: Int64Array = (0..techniques.len()).map(phase).collect();
        Ok(ColumnarValue::Array(Arc::new(phases)))
    };
    create_udf(
        "attack_phase",
        vec![texts],
        DataType::Int64,
        Volatility::Immutable,
        Arc::new(of),
    )
}

fn earliest(technique: &str) -> Option<usize> {
    phases_of(technique).iter().min().copied()
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use crate::model::{Detection, Incident, Micros, time};
    use crate::query::graph_tests::ask;
    use crate::query::session;
    use crate::store::tests::{START, detection, epoch, incident};
    use crate::store::{Store, Table, rows};

    fn at(id: &str, minute: i64, layer: &str, technique: &str) -> Incident {
        let first_time = START + minute * time::MINUTE;
        Incident {
            first_time,
            last_time: first_time + time::MINUTE,
            layers: vec![layer.to_owned()],
            techniques: vec![technique.to_owned()],
            ..incident(id, 1, &[])
        }
    }

    fn alone(id: &str, minute: i64, rule: &str) -> Detection {
        Detection {
            time: START + minute * time::MINUTE,
            rule: rule.to_owned(),
            layer: "vector_db".to_owned(),
            techniques: vec!["T1530".to_owned()],
            ..detection(id)
        }
    }

    async fn over(incidents: &[Incident], detections: &[Detection]) -> (tempfile::TempDir, SessionContext) {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(dir.path()).await.unwrap();
        let now: Micros = START + 9 * 24 * time::HOUR;
        let mut tables: Vec<_> = rows::incidents_to_batches(incidents, now)
            .unwrap()
            .into_iter()
            .collect();
        tables.push((Table::Detections, rows::detections_to_batch(detections).unwrap()));
        store.commit(epoch(1, tables)).await.unwrap();
        let session = session(store.views(), None, None).await.unwrap();
        (dir, session)
    }

    /// What may belong to an incident.
    async fn of(session: &SessionContext, id: &str) -> Vec<String> {
        let statement = format!(
            "SELECT coalesce(incident_id, detection_id), follows, gap_seconds, from_phase, to_phase FROM bridges('{id}') \
             ORDER BY confidence DESC"
        );
        ask(session, &statement).await
    }

    const PROMPT: &str = "AML.T0051.000";
    const COPY: &str = "T1537";

    #[tokio::test(flavor = "multi_thread")]
    async fn what_goes_on_in_another_system_may_belong_to_it() {
        let others = Incident {
            tenant: "other".to_owned(),
            ..at("others", 3, "cloud", COPY)
        };
        let incidents = [
            at("prompt", 0, "gateway", PROMPT),
            at("copy", 11, "cloud", COPY),
            at("same system", 3, "gateway", COPY),
            // An attack does not go backwards.
            at("copy before", -9, "cloud", COPY),
            at("far", 400, "cloud", COPY),
            others,
        ];
        let (_dir, session) = over(
            &incidents,
            &[alone("found", 6, "mass-read"), alone("later", 30, "mass-read")],
        )
        .await;
        let prompt = of(&session, "prompt").await;
        assert_eq!(
            prompt,
            [
                "found,true,300,execution,collection",
                "copy,true,600,execution,exfiltration",
            ]
        );
        let copy = of(&session, "copy").await;
        assert_eq!(
            copy,
            [
                "found,false,300,collection,exfiltration",
                "prompt,false,600,execution,exfiltration"
            ]
        );
        assert_eq!(of(&session, "none").await, Vec::<String>::new());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_falls_into_a_long_incident_is_no_nearer_than_it_is_long() {
        let long = Incident {
            last_time: START + 20 * time::HOUR,
            ..at("prompt", 0, "gateway", PROMPT)
        };
        let within = alone("found", 600, "mass-read");
        let nowhere = Detection {
            layer: String::new(),
            ..alone("nowhere", 3, "other")
        };
        let (_dir, session) = over(&[long], std::slice::from_ref(&within)).await;
        assert_eq!(of(&session, "prompt").await, Vec::<String>::new());
        let (_dir, session) = over(&[at("prompt", 598, "gateway", PROMPT)], &[within, nowhere]).await;
        assert_eq!(of(&session, "prompt").await, ["found,true,60,execution,collection"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_two_that_begin_at_once_both_are_told() {
        let incidents = [at("prompt", 0, "gateway", PROMPT), at("copy", 0, "cloud", COPY)];
        let (_dir, session) = over(&incidents, &[]).await;
        assert_eq!(of(&session, "prompt").await, ["copy,true,0,execution,exfiltration"]);
        assert_eq!(of(&session, "copy").await, ["prompt,false,0,execution,exfiltration"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_usual_here_says_nothing() {
        // One rule is tripped five hundred times a week, and ninety incidents are as severe as `copy`.
        let usual = (0..500).map(|number| alone(&format!("u{number}"), number * -20 - 10, "usual"));
        let usual: Vec<Detection> = usual
            .chain([alone("now", 9, "usual"), alone("rare", 9, "rare")])
            .collect();
        let many = (0..90).map(|number| at(&format!("m{number}"), number * -100 - 500, "agent", COPY));
        let incidents: Vec<Incident> = [at("prompt", 0, "gateway", PROMPT)].into_iter().chain(many).collect();
        let (_dir, session) = over(&incidents[..1], &usual).await;
        assert_eq!(of(&session, "prompt").await, ["rare,true,480,execution,collection"]);
        let (_dir, session) = over(&incidents, &usual).await;
        assert_eq!(
            of(&session, "prompt").await,
            Vec::<String>::new(),
            "such incidents are usual"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn repeats_are_one_and_what_is_of_an_incident_is_not_alone() {
        let repeats = [alone("d1", 6, "mass-read"), alone("d1", 7, "mass-read")];
        let repeats = repeats.into_iter().enumerate().map(|(number, found)| Detection {
            detection_id: format!("r{number}"),
            ..found
        });
        let repeats: Vec<Detection> = repeats.collect();
        assert_eq!(repeats[0].fold(), repeats[1].fold());
        let prompt = at("prompt", 0, "gateway", PROMPT);
        let (_dir, session) = over(std::slice::from_ref(&prompt), &repeats).await;
        assert_eq!(of(&session, "prompt").await, ["r0,true,300,execution,collection"]);
        let owner = Incident {
            detection_ids: vec!["r0".to_owned()],
            folds: vec![repeats[0].fold()],
            ..at("owner", 6, "gateway", PROMPT)
        };
        let (_dir, session) = over(&[prompt, owner], &repeats).await;
        assert_eq!(of(&session, "prompt").await, Vec::<String>::new());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_phase_is_the_furthest_of_all_and_of_one_technique_the_earliest() {
        let (_dir, session) = over(&[], &[]).await;
        let statement = "SELECT attack_phase(make_array('T1078', 'AML.T0051.000')), attack_phase(make_array('T0')), \
                         attack_phase(make_array())";
        assert_eq!(ask(&session, statement).await, ["5,,"]);
    }
}
