//! What people decide of an incident, and what the engine notes beside it. Names and numbers are those of OCSF's Incident Finding.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::incident::IncidentStatus;
use super::severity::Severity;
use super::time::Micros;

/// Who makes the changes that nobody made by hand.
pub const ENGINE: &str = "sentrail";

/// Longest name of a person and longest rule, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// Longest note or reason, in bytes.
pub const NOTE_BYTES_MAX: usize = 4096;

/// How far the work on an incident is: OCSF's `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum WorkflowStatus {
    #[default]
    New,
    InProgress,
    OnHold,
    Resolved,
    Closed,
}

/// What an incident turned out to be: OCSF's `verdict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Verdict {
    FalsePositive,
    TruePositive,
    Disregard,
    Suspicious,
    /// Its findings are what they look like, and wanted: the like of them is silenced.
    Benign,
    Test,
    InsufficientData,
    SecurityRisk,
    ManagedExternally,
    Duplicate,
}

impl WorkflowStatus {
    const ALL: [(WorkflowStatus, i32, &'static str); 5] = [
        (WorkflowStatus::New, 1, "New"),
        (WorkflowStatus::InProgress, 2, "In Progress"),
        (WorkflowStatus::OnHold, 3, "On Hold"),
        (WorkflowStatus::Resolved, 4, "Resolved"),
        (WorkflowStatus::Closed, 5, "Closed"),
    ];

    /// OCSF's caption.
    pub fn text(self) -> &'static str {
        caption(&WorkflowStatus::ALL, self).1
    }

    /// OCSF's `status_id`.
    pub fn id(self) -> i32 {
        caption(&WorkflowStatus::ALL, self).0
    }

    /// Nobody works on it any more.
    pub fn is_done(self) -> bool {
        matches!(self, WorkflowStatus::Resolved | WorkflowStatus::Closed)
    }
}

impl Verdict {
    const ALL: [(Verdict, i32, &'static str); 10] = [
        (Verdict::FalsePositive, 1, "False Positive"),
        (Verdict::TruePositive, 2, "True Positive"),
        (Verdict::Disregard, 3, "Disregard"),
        (Verdict::Suspicious, 4, "Suspicious"),
        (Verdict::Benign, 5, "Benign"),
        (Verdict::Test, 6, "Test"),
        (Verdict::InsufficientData, 7, "Insufficient Data"),
        (Verdict::SecurityRisk, 8, "Security Risk"),
        (Verdict::ManagedExternally, 9, "Managed Externally"),
        (Verdict::Duplicate, 10, "Duplicate"),
    ];

    /// OCSF's caption.
    pub fn text(self) -> &'static str {
        caption(&Verdict::ALL, self).1
    }

    /// OCSF's `verdict_id`.
    pub fn id(self) -> i32 {
        caption(&Verdict::ALL, self).0
    }
}

fn caption<T: Copy + PartialEq>(all: &[(T, i32, &'static str)], of: T) -> (i32, &'static str) {
    let held = all.iter().find(|(held, _, _)| *held == of);
    held.map_or((0, "Unknown"), |(_, id, text)| (*id, text))
}

/// Reads a caption, without regard to case and to what is between its words: `in-progress`.
fn named<T: Copy>(all: &[(T, i32, &'static str)], text: &str) -> Result<T, String> {
    let letters = |text: &str| -> String {
        let letters = text.chars().filter(|c| !matches!(c, ' ' | '-' | '_'));
        letters.map(|c| c.to_ascii_lowercase()).collect()
    };
    let held = all.iter().find(|(_, _, caption)| letters(caption) == letters(text));
    held.map(|(held, _, _)| *held).ok_or_else(|| {
        let captions: Vec<&str> = all.iter().map(|(_, _, caption)| *caption).collect();
        format!("`{}` is none of {}", super::one_line(text, 40), captions.join(", "))
    })
}

impl FromStr for WorkflowStatus {
    type Err = String;

    fn from_str(text: &str) -> Result<WorkflowStatus, String> {
        named(&WorkflowStatus::ALL, text)
    }
}

impl FromStr for Verdict {
    type Err = String;

    fn from_str(text: &str) -> Result<Verdict, String> {
        named(&Verdict::ALL, text)
    }
}

impl TryFrom<String> for WorkflowStatus {
    type Error = String;

    fn try_from(text: String) -> Result<WorkflowStatus, String> {
        text.parse()
    }
}

impl TryFrom<String> for Verdict {
    type Error = String;

    fn try_from(text: String) -> Result<Verdict, String> {
        text.parse()
    }
}

impl From<WorkflowStatus> for &'static str {
    fn from(status: WorkflowStatus) -> &'static str {
        status.text()
    }
}

impl From<Verdict> for &'static str {
    fn from(verdict: Verdict) -> &'static str {
        verdict.text()
    }
}

/// What stands of an incident beside its evidence. Part of its revisions; the graph knows nothing of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Case {
    pub status: WorkflowStatus,
    pub assignee: Option<String>,
    pub verdict: Option<Verdict>,
    /// Ids of the silences that cover its findings, all of them but for those that are inhibited; empty where one is neither.
    pub silences: Vec<String>,
    /// Names of the inhibitions that hold those of its findings back which no silence covers; empty where one is not held back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inhibited: Vec<String>,
    /// What made this revision, where it was not evidence alone.
    pub change: Option<Change>,
    /// Receivers are not sent this revision. Not of its content.
    pub withheld: bool,
    /// Receivers were sent no revision before this one, though there are some. Not of its content.
    pub first_sent: bool,
}

impl Case {
    /// Nothing was ever said of it.
    pub fn is_plain(&self) -> bool {
        *self == Case::default()
    }

    /// Every one of its findings is silenced or inhibited.
    pub fn is_silenced(&self) -> bool {
        !self.silences.is_empty() || !self.inhibited.is_empty()
    }

    /// Somebody decided something that holds until somebody decides otherwise.
    pub fn is_kept(&self) -> bool {
        self.status != WorkflowStatus::New || self.assignee.is_some() || self.verdict.is_some()
    }
}

/// An act that made a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// A person's name as they gave it, or [`ENGINE`].
    pub by: String,
    /// By the clock.
    pub at: Micros,
    pub note: Option<String>,
    /// The like of its findings is silenced before this event time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silences_until: Option<Micros>,
}

/// What the newest revision of an incident says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub status: IncidentStatus,
    pub severity: Severity,
    /// Receivers were sent a revision of it.
    pub told: bool,
    /// All of its findings are silenced or inhibited.
    pub silenced: bool,
}

/// Something that a person wants done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    UpdateIncident(IncidentUpdate),
    AddSilence(NewSilence),
    RemoveSilence {
        /// The id, or its first characters when they fit one silence alone.
        silence: String,
        by: String,
    },
}

/// What is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IncidentUpdate {
    pub incident_id: String,
    pub by: String,
    pub status: Option<WorkflowStatus>,
    /// An empty one takes the assignee away.
    pub assignee: Option<String>,
    pub verdict: Option<Verdict>,
    pub note: Option<String>,
    /// How long what the verdict `Benign` teaches holds, in seconds of event time from the newest that is known.
    pub silence_seconds: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewSilence {
    /// `default` where it is left out.
    pub tenant: Option<String>,
    /// `PLUGIN/RULE`, or `PLUGIN` for all of its rules; all rules where it is left out.
    pub rule: Option<String>,
    /// `kind:value`.
    pub entities: Vec<String>,
    /// Event time: a date, or a time with its offset.
    pub until: String,
    pub reason: String,
    pub by: String,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Of the incident or the silence.
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u32>,
    /// Ids of silences that were taught.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silences: Vec<String>,
    /// In words.
    pub message: String,
}

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Retrying does not help.
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Unknown(String),
}

impl Command {
    /// Whether every text is of a form that can be kept.
    pub fn check(&self) -> Result<(), Refusal> {
        match self {
            Command::UpdateIncident(update) => {
                person("by", &update.by)?;
                if let Some(assignee) = update.assignee.as_deref().filter(|name| !name.is_empty()) {
                    person("assignee", assignee)?;
                }
                if let Some(note) = &update.note {
                    text("note", note, NOTE_BYTES_MAX)?;
                }
                let changes = update.status.is_some()
                    || update.assignee.is_some()
                    || update.verdict.is_some()
                    || update.note.is_some();
                match changes {
                    true => Ok(()),
                    false => Err(Refusal::Invalid(
                        "it changes nothing; valid are status, assignee, verdict and note".into(),
                    )),
                }
            }
            Command::AddSilence(silence) => {
                person("by", &silence.by)?;
                text("reason", &silence.reason, NOTE_BYTES_MAX)?;
                if let Some(rule) = &silence.rule {
                    text("rule", rule, NAME_BYTES_MAX)?;
                }
                if let Some(tenant) = &silence.tenant {
                    text("tenant", tenant, NAME_BYTES_MAX)?;
                }
                Ok(())
            }
            Command::RemoveSilence { by, .. } => person("by", by),
        }
    }
}

/// Nobody writes as the engine.
fn person(what: &str, name: &str) -> Result<(), Refusal> {
    text(what, name, NAME_BYTES_MAX)?;
    match name.eq_ignore_ascii_case(ENGINE) {
        true => Err(Refusal::Invalid(format!(
            "{what}: `{name}` is the engine itself; give a person's name"
        ))),
        false => Ok(()),
    }
}

fn text(what: &str, text: &str, bytes_max: usize) -> Result<(), Refusal> {
    if text.trim().is_empty() || text.len() > bytes_max || text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(Refusal::Invalid(format!(
            "{what}: valid is a text of 1 to {bytes_max} bytes without control characters"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_are_those_of_ocsf_however_they_are_written() {
        assert_eq!("in-progress".parse(), Ok(WorkflowStatus::InProgress));
        assert_eq!(
            (WorkflowStatus::OnHold.text(), WorkflowStatus::OnHold.id()),
            ("On Hold", 3)
        );
        assert_eq!("BENIGN".parse(), Ok(Verdict::Benign));
        assert_eq!((Verdict::Duplicate.id(), Verdict::Benign.id()), (10, 5));
        let wrong = "shut\u{1b}[2J".parse::<WorkflowStatus>().unwrap_err();
        assert!(
            wrong.contains("New, In Progress") && !wrong.contains('\u{1b}'),
            "{wrong}"
        );
        for (status, id, text) in WorkflowStatus::ALL {
            assert_eq!(
                (status.id(), status.text(), text.parse()),
                (id, text, Ok::<_, String>(status))
            );
        }
        let json = serde_json::to_string(&Case {
            verdict: Some(Verdict::FalsePositive),
            ..Case::default()
        })
        .unwrap();
        assert!(json.contains("\"False Positive\""), "{json}");
        assert_eq!(
            serde_json::from_str::<Case>(&json).unwrap().verdict,
            Some(Verdict::FalsePositive)
        );
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let update = |by: &str, note: Option<&str>| {
            Command::UpdateIncident(IncidentUpdate {
                by: by.into(),
                note: note.map(Into::into),
                ..IncidentUpdate::default()
            })
        };
        assert_eq!(update("ann", Some("seen\nby two")).check(), Ok(()));
        for (by, note) in [
            ("ann", None),
            ("", Some("x")),
            ("Sentrail", Some("x")),
            ("a\u{1b}nn", Some("x")),
            ("ann", Some(" ")),
        ] {
            assert!(update(by, note).check().is_err(), "{by:?} {note:?}");
        }
        assert!(update("ann", Some(&"x".repeat(NOTE_BYTES_MAX + 1))).check().is_err());
        assert!(serde_json::from_str::<Command>(r#"{"update_incident": {"by": "ann", "colour": "red"}}"#).is_err());
    }
}
