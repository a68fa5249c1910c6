//! `sentrail incident list | show | update`

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use datafusion::prelude::SessionContext;
use serde_json::{Map, Value};

use super::DataDirectory;
use super::command::{carry_out, somebody};
use super::story::{Facts, Story, page::page};
use super::terminal::Look;
use crate::model::text::{harmless_json, harmless_line};
use crate::model::{self, Id, Incident, IncidentUpdate, Micros, Verdict, WorkflowStatus, shorten_hashes, time};
use crate::pipeline;
use crate::query::{self, Format};

#[derive(Subcommand)]
pub enum Command {
    /// The incidents, worst first.
    List {
        #[command(flatten)]
        data: DataDirectory,
        #[arg(long, value_enum, default_value_t = ListFormat::Text)]
        format: ListFormat,
    },
    /// One incident as a story: who did what, in which order, why it belongs together, and what to do.
    Show(Show),
    /// Say how far the work on an incident is, who does it, and what it turned out to be.
    Update(Update),
}

#[derive(Args)]
pub struct Update {
    /// The incident's id, or its first characters when they fit one incident alone.
    id: String,
    #[command(flatten)]
    data: DataDirectory,
    /// New, In Progress, On Hold, Resolved or Closed.
    #[arg(long)]
    status: Option<WorkflowStatus>,
    /// Who works on it; "" for nobody.
    #[arg(long)]
    assignee: Option<String>,
    /// True Positive, False Positive, Benign and others of OCSF. Benign silences the like of its findings.
    #[arg(long)]
    verdict: Option<Verdict>,
    #[arg(long)]
    note: Option<String>,
    /// How long what the verdict Benign silences is silent, in event time: such as 90d.
    #[arg(long, value_parser = super::span::length, default_value = "30d")]
    silence_for: Micros,
    /// Who says so; the user's name where it is left out.
    #[arg(long)]
    by: Option<String>,
}

#[derive(Args)]
pub struct Show {
    /// The incident's id, or its first characters when they fit one incident alone.
    id: String,
    #[command(flatten)]
    data: DataDirectory,
    #[arg(long, value_enum, default_value_t = ShowFormat::Text)]
    format: ShowFormat,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum ListFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum ShowFormat {
    Text,
    Json,
    /// Graphviz.
    Dot,
}

pub async fn incident(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Update(update) => self::update(update).await,
        Command::List { data, format } => list(&data.data, format).await,
        Command::Show(Show { id, data, format }) => {
            let session = super::query::session(&data.data).await?;
            let incident = find(&session, &id).await?;
            match format {
                ShowFormat::Text => super::out(&told(&session, incident, Look::of_output()).await?)?,
                ShowFormat::Json => {
                    let mut whole = whole(&session, &incident.incident_id).await?;
                    let story = Story::of(&Facts::of(&session, incident).await?);
                    whole.insert("story".to_owned(), serde_json::to_value(story)?);
                    super::out(&format!("{}\n", harmless_json(&serde_json::to_string_pretty(&whole)?)))?;
                }
                ShowFormat::Dot => super::out(&dot(&incident))?,
            }
            Ok(())
        }
    }
}

/// The incident's story, for people.
pub async fn told(session: &SessionContext, incident: Incident, look: Look) -> anyhow::Result<String> {
    let facts = Facts::of(session, incident).await?;
    Ok(page(&facts.incident, &Story::of(&facts), look))
}

async fn update(update: Update) -> anyhow::Result<()> {
    // An engine may know one that is not durable yet.
    let incident_id = match Id::parse(&update.id) {
        Some(id) => id.to_string(),
        None => {
            find(&super::query::session(&update.data.data).await?, &update.id)
                .await?
                .incident_id
        }
    };
    let seconds = update.silence_for / time::SECOND;
    let wanted = IncidentUpdate {
        incident_id,
        by: somebody(update.by)?,
        status: update.status,
        assignee: update.assignee,
        verdict: update.verdict,
        note: update.note,
        silence_seconds: Some(u32::try_from(seconds).context("--silence-for is longer than 100 years")?),
    };
    carry_out(&update.data.data, model::Command::UpdateIncident(wanted)).await
}

async fn list(data: &Path, format: ListFormat) -> anyhow::Result<()> {
    const WORST_FIRST: &str = "ORDER BY severity_id DESC, score DESC, incident_id";
    let session = super::query::session(data).await?;
    match format {
        ListFormat::Text => {
            let sql = "SELECT incident_id, severity, round(score, 0) AS score, status, \
                       CASE WHEN coalesce(silenced_by, inhibited_by) IS NOT NULL AND workflow_status NOT IN ('Resolved', 'Closed') THEN 'Silenced' \
                       ELSE workflow_status END AS workflow, assignee, \
                       detection_count AS detections, first_time, last_time, title FROM incidents \
                       ORDER BY coalesce(silenced_by, inhibited_by) IS NOT NULL, severity_id DESC, score DESC, incident_id";
            super::query::print(&session, sql, Format::Table).await
        }
        ListFormat::Json => {
            let mut lines = String::new();
            for incident in objects(&session, &format!("SELECT * FROM incidents {WORST_FIRST}")).await? {
                let _ = writeln!(lines, "{}", Value::Object(incident));
            }
            super::out(&harmless_json(&lines))
        }
    }
}

/// One incident as `list` gives it, with its path and the detections it is made of.
async fn whole(session: &SessionContext, id: &str) -> anyhow::Result<Map<String, Value>> {
    let incidents = objects(session, &format!("SELECT * FROM incidents WHERE incident_id = '{id}'")).await?;
    let mut incident = incidents.into_iter().next().context("it was found before")?;
    let path = format!(
        "SELECT step, time, from_entity, to_entity, action, technique, detection_id, why FROM incident_path \
         WHERE incident_id = '{id}' ORDER BY step"
    );
    let evidence = format!(
        "SELECT d.detection_id, d.time, d.plugin, d.plugin_version, d.rule, d.severity, d.title, d.message, d.techniques, \
         d.entities, d.event_ids, d.layer, d.action, d.late FROM incident_evidence e \
         JOIN detections d ON d.detection_id = e.detection_id WHERE e.incident_id = '{id}' ORDER BY e.position"
    );
    for (name, sql) in [("path", path), ("evidence", evidence)] {
        let rows = objects(session, &sql).await?;
        incident.insert(name.to_owned(), rows.into_iter().map(Value::Object).collect());
    }
    Ok(incident)
}

/// Rows as objects with the columns as fields, written as `sentrail sql --format json` writes them.
pub async fn objects(session: &SessionContext, sql: &str) -> anyhow::Result<Vec<Map<String, Value>>> {
    let mut lines = Vec::new();
    query::render(&query::sql(session, sql).await?, Format::Json, &mut lines)?;
    let rows = serde_json::Deserializer::from_slice(&lines).into_iter::<Map<String, Value>>();
    rows.map(|row| {
        let mut row = row?;
        // The table holds it as text.
        if let Some(Value::String(parts)) = row.get("score_parts") {
            let parts = serde_json::from_str(parts).context("score_parts")?;
            row.insert("score_parts".to_owned(), parts);
        }
        Ok(row)
    })
    .collect()
}

/// The newest revision of the one incident whose id begins with `prefix`.
pub async fn find(session: &SessionContext, prefix: &str) -> anyhow::Result<Incident> {
    if prefix.is_empty() || !prefix.chars().all(|c| c.is_ascii_hexdigit()) {
        bail!("`{prefix}` is no incident id; ids are hexadecimal, `sentrail incident list` shows them");
    }
    let condition = format!("incident_id LIKE '{}%'", prefix.to_ascii_lowercase());
    let mut found = pipeline::incidents(session, &condition).await?;
    match found.len() {
        0 => bail!("no incident's id begins with `{prefix}`; `sentrail incident list` shows all"),
        1 => found.pop().context("one was found"),
        more => bail!("{more} incidents begin with `{prefix}`; give more characters"),
    }
}

/// The path as a Graphviz digraph: entities as nodes, steps as edges.
fn dot(incident: &Incident) -> String {
    let quote = |text: &str| format!("\"{}\"", harmless_line(text).replace('\\', "\\\\").replace('"', "\\\""));
    let mut text = format!(
        "digraph {} {{\n  rankdir=LR;\n  label={};\n",
        quote(&incident.incident_id),
        quote(&incident.title)
    );
    for step in &incident.path {
        let from = if step.from_entity.is_empty() {
            &step.to_entity
        } else {
            &step.from_entity
        };
        let to = if step.to_entity.is_empty() {
            from
        } else {
            &step.to_entity
        };
        let label = match &step.technique {
            Some(technique) => format!("{}. {} ({technique})", step.step, step.action),
            None => format!("{}. {}", step.step, step.action),
        };
        let style = if step.detection_id.is_some() {
            ""
        } else {
            ", style=dashed"
        };
        let _ = writeln!(
            text,
            "  {} -> {} [label={}{style}];",
            quote(&shorten_hashes(from)),
            quote(&shorten_hashes(to)),
            quote(&label)
        );
    }
    text.push_str("}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::story::tests::{facts, hostile};

    #[test]
    fn what_came_from_logs_forges_no_lines_in_a_drawing() {
        let text = dot(&facts(hostile()).incident);
        assert_eq!(
            text.lines().count(),
            dot(&facts("x").incident).lines().count(),
            "{text}"
        );
        let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(steers), "{text:?}");
        assert!(text.contains(r#"\\u{1b}[2J"#));
    }
}
