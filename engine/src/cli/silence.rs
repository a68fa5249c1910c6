//! `sentrail silence add | list | remove`

use clap::Subcommand;

use super::DataDirectory;
use super::command::{carry_out, somebody};
use crate::model::{self, NewSilence};
use crate::query::Format;

#[derive(Subcommand)]
pub enum Command {
    /// Findings of a rule, or that name an entity, make no incident until an event time.
    Add {
        #[command(flatten)]
        data: DataDirectory,
        /// PLUGIN/RULE, or PLUGIN for all of its rules; all rules where it is left out.
        #[arg(long)]
        rule: Option<String>,
        /// kind:value, such as principal:bob@example.com; several times for several.
        #[arg(long = "entity")]
        entities: Vec<String>,
        /// The event time from which on it does not hold any more: 2026-12-31, or 2026-12-31T18:00:00Z.
        #[arg(long)]
        until: String,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Whose findings.
        #[arg(long, default_value = "default")]
        tenant: String,
        /// Who answers for it; the user's name where it is left out.
        #[arg(long)]
        by: Option<String>,
    },
    /// All silences, with how often each held.
    List {
        #[command(flatten)]
        data: DataDirectory,
        /// table, json (one object per line) or csv.
        #[arg(long, default_value = "table")]
        format: Format,
    },
    /// Take a silence away.
    Remove {
        /// Its id, or its first characters when they fit one silence alone.
        id: String,
        #[command(flatten)]
        data: DataDirectory,
        /// Who takes it away; the user's name where it is left out.
        #[arg(long)]
        by: Option<String>,
    },
}

pub async fn silence(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Add {
            data,
            rule,
            entities,
            until,
            reason,
            tenant,
            by,
        } => {
            let new = NewSilence {
                tenant: Some(tenant),
                rule,
                entities,
                until,
                reason,
                by: somebody(by)?,
            };
            carry_out(&data.data, model::Command::AddSilence(new)).await
        }
        Command::List { data, format } => {
            let session = super::query::session(&data.data).await?;
            let all = "SELECT * FROM silences ORDER BY active DESC, created DESC, silence";
            let brief = "SELECT silence, active, rule, entities, expires, hits, owner, reason FROM silences \
                         ORDER BY active DESC, created DESC, silence";
            let sql = if matches!(format, Format::Table) { brief } else { all };
            super::query::print(&session, sql, format).await
        }
        Command::Remove { id, data, by } => {
            let by = somebody(by)?;
            carry_out(&data.data, model::Command::RemoveSilence { silence: id, by }).await
        }
    }
}
