//! What redaction took from what a command reads.

use crate::detect::PluginManifest;
use crate::model::EventSchema;
use crate::pipeline::Replayed;

/// Says plainly that a detector did not see what it would see in a run; empty where nothing was redacted.
pub fn note(replayed: &Replayed, manifest: &PluginManifest) -> String {
    if replayed.redacted == 0 {
        return String::new();
    }
    let personal = EventSchema::get().columns().iter().filter(|column| column.personal);
    let read: Vec<&str> = personal
        .map(|column| column.name.as_str())
        .filter(|name| manifest.columns.iter().chain(&manifest.key).any(|read| read == name))
        .collect();
    let read = match read.is_empty() {
        true => "it reads none of the columns that this concerns".to_owned(),
        false => format!(
            "{} hold stand-ins or nothing, and what a rule looks for there is not found",
            read.join(", ")
        ),
    };
    format!(
        "{} of {} events were redacted before they were stored: {read}\n",
        replayed.redacted, replayed.events
    )
}
