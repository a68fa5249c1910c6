//! A story as a page for a terminal: what came from logs can neither steer it nor look like lines of it. Hashes are shortened; `--format json`
//! has them whole.

use super::{NAMED_MAX, Named, Step, Story, list};
use crate::cli::terminal::Look;
use crate::model::text::{cut, harmless_line};
use crate::model::{Incident, Severity, Verdict, shorten_hashes};

/// A path shows so many of its first and of its last steps.
const STEPS_SHOWN: (usize, usize) = (20, 10);
const ADVICE_MAX: usize = 5;
const MITIGATIONS_MAX: usize = 4;
/// Techniques that are told of one mitigation.
const TECHNIQUES_SHOWN: usize = 3;
/// Of what a detector saw; the detection has it whole.
const MESSAGE_BYTES: usize = 300;

pub fn page(incident: &Incident, story: &Story, look: Look) -> String {
    let mut page = Page {
        text: String::new(),
        look,
    };
    page.title(incident);
    page.head("What happened");
    page.line(2, 2, &story.what_happened);
    page.named("Who", &story.who);
    page.named("From where", &story.from_where);
    page.named("What was reached", &story.reached);
    page.steps(&story.steps, &incident.incident_id);
    page.head("Why so severe");
    for part in &incident.score_parts {
        page.line(2, 7, &format!("{:>+4.0} {}", part.points, part.why));
    }
    page.next(story);
    page.beside(story);
    page.advice(story);
    if !story.not_known.is_empty() {
        page.head("What is not known");
        for doubt in &story.not_known {
            page.line(2, 4, &format!("- {doubt}"));
        }
    }
    page.text
}

/// How much of what may belong to it is shown.
const BESIDE_SHOWN: usize = 5;

struct Page {
    text: String,
    look: Look,
}

impl Page {
    fn title(&mut self, incident: &Incident) {
        let title = harmless_line(&shorten_hashes(&incident.title));
        self.painted("1", &title);
        let severity = match incident.severity {
            Severity::Critical | Severity::High => "1;31",
            Severity::Medium => "33",
            Severity::Low | Severity::Informational => "0",
        };
        self.painted(
            severity,
            &format!("{}, {:.0} of 100", incident.severity, incident.score),
        );
        // The id is what people copy: it stays whole.
        let into = incident.merged_into.as_ref();
        let into = into.map_or(String::new(), |into| format!(" into {}", harmless_line(into)));
        self.text.push_str(&format!(
            "incident {}, revision {}, {}{into}\n",
            harmless_line(&incident.incident_id),
            incident.revision,
            incident.status.text()
        ));
        let case = &incident.case;
        if case.is_kept() {
            let assignee = case.assignee.as_deref().unwrap_or("nobody");
            let verdict = case.verdict.map_or("none", Verdict::text);
            let work = format!("{}  assigned to {assignee}  verdict {verdict}", case.status.text());
            self.text.push_str(&format!("{}\n", harmless_line(&work)));
        }
        if !case.silences.is_empty() {
            let silences = harmless_line(&case.silences.join(", "));
            self.text.push_str(&format!("silenced by {silences}\n"));
        }
        if !case.inhibited.is_empty() {
            let inhibited = harmless_line(&case.inhibited.join(", "));
            self.text.push_str(&format!("inhibited by {inhibited}\n"));
        }
    }

    /// A line in a colour, where there are colours.
    fn painted(&mut self, code: &str, line: &str) {
        let line = if self.look.colour {
            format!("\u{1b}[{code}m{line}\u{1b}[0m\n")
        } else {
            format!("{line}\n")
        };
        self.text.push_str(&line);
    }

    fn head(&mut self, text: &str) {
        self.text.push('\n');
        self.painted("1", text);
    }

    /// A text from the column `first` on, its further lines from `rest` on.
    fn line(&mut self, first: usize, rest: usize, text: &str) {
        let text = harmless_line(&shorten_hashes(text));
        let mut column = first;
        self.text.push_str(&" ".repeat(first));
        let mut is_begun = false;
        // What stands in columns stays there: only the gaps between words may become line ends.
        let indent = text.len() - text.trim_start().len();
        self.text.push_str(&text[..indent]);
        column += indent;
        for word in text.split_whitespace() {
            let length = word.chars().count();
            let is_full = self.look.width.is_some_and(|width| column + 1 + length > width);
            if is_begun && is_full {
                self.text.push('\n');
                self.text.push_str(&" ".repeat(rest));
                column = rest;
            } else if is_begun {
                self.text.push(' ');
                column += 1;
            }
            self.text.push_str(word);
            column += length;
            is_begun = true;
        }
        self.text.push('\n');
    }

    fn named(&mut self, head: &str, named: &[Named]) {
        if named.is_empty() {
            return;
        }
        self.head(head);
        for Named {
            entity,
            findings,
            notes,
        } in named.iter().take(NAMED_MAX)
        {
            let findings = match findings {
                1 => "1 finding".to_owned(),
                more => format!("{more} findings"),
            };
            let mut text = format!("{entity} ({findings})");
            if !notes.is_empty() {
                text.push_str(&format!(": {}", cut(&notes.join("; "), MESSAGE_BYTES)));
            }
            self.line(2, 4, &text);
        }
        if named.len() > NAMED_MAX {
            self.line(2, 4, &format!("and {} more", named.len() - NAMED_MAX));
        }
    }

    fn steps(&mut self, steps: &[Step], incident: &str) {
        self.head("Step by step");
        let (first, last) = STEPS_SHOWN;
        let is_long = steps.len() > first + last;
        let mut day = "";
        for (index, step) in steps.iter().enumerate() {
            if is_long && (first..steps.len() - last).contains(&index) {
                if index == first {
                    let more = steps.len() - first - last;
                    // Not by `line`, which would shorten the id.
                    self.text.push_str(&format!(
                        "     … {more} steps more: SELECT * FROM attack_path('{}')\n",
                        harmless_line(incident)
                    ));
                }
                continue;
            }
            let (date, clock) = (step.time.get(..10), step.time.get(11..19));
            let (date, clock) = (date.unwrap_or_default(), clock.unwrap_or_default());
            if date != day {
                self.line(2, 2, date);
                day = date;
            }
            self.step(step, clock);
        }
    }

    fn step(&mut self, step: &Step, clock: &str) {
        const INDENT: usize = 15;
        // A relation has no title: it says itself what it is.
        let title = if step.title.is_empty() {
            &step.action
        } else {
            &step.title
        };
        self.line(2, INDENT, &format!("{:>3} {clock} {title}", step.step));
        let by = match (step.from_entity.as_str(), step.to_entity.as_str()) {
            ("", "") => String::new(),
            (one, "") | ("", one) => one.to_owned(),
            (from, to) => format!("{from} → {to}"),
        };
        let did = if step.title.is_empty() || step.action.is_empty() {
            String::new()
        } else {
            format!(" by {}", step.action)
        };
        if !by.is_empty() || !did.is_empty() {
            self.line(INDENT, INDENT + 2, &format!("{by}{did}"));
        }
        if !step.message.is_empty() {
            self.line(INDENT, INDENT + 2, &cut(step.message.trim(), MESSAGE_BYTES));
        }
        if !step.techniques.is_empty() {
            let named = step.techniques.iter().map(|technique| match technique.name {
                Some(name) => format!("{name} ({})", technique.id),
                None => technique.id.clone(),
            });
            self.line(INDENT, INDENT + 2, &named.collect::<Vec<_>>().join("; "));
        }
        self.line(INDENT, INDENT + 2, &format!("why: {}", step.why));
    }

    fn next(&mut self, story: &Story) {
        if story.phases_seen.is_empty() {
            return;
        }
        self.head("What may come next");
        self.line(2, 2, &format!("Seen: {}.", list(&story.phases_seen)));
        let next = match story.phases_next.as_slice() {
            [] => "Nothing that was not seen comes later in an attack.".to_owned(),
            next => format!(
                "Later in an attack, and not seen: {}. That no detector told of it does not mean that it did not happen.",
                list(next)
            ),
        };
        self.line(2, 2, &next);
    }

    fn beside(&mut self, story: &Story) {
        if story.beside.is_empty() {
            return;
        }
        self.head("What may belong to it");
        self.line(
            2,
            2,
            "Nothing links these to it; they are rare, lie near it in time and go on where it, or they, ended.",
        );
        for other in story.beside.iter().take(BESIDE_SHOWN) {
            let id = match (&other.incident_id, &other.detection_id) {
                (Some(id), _) => format!("incident {id}"),
                (None, id) => format!("finding {}", id.as_deref().unwrap_or_default()),
            };
            let confidence = format!("confidence {:.0} %", other.confidence * 100.0);
            self.line(2, 4, &format!("- {id}: {}; {}; {confidence}", other.title, other.why));
        }
        if story.beside.len() > BESIDE_SHOWN {
            let more = story.beside.len() - BESIDE_SHOWN;
            self.line(
                2,
                4,
                &format!("- and {more} more: the table function `bridges` has them"),
            );
        }
    }

    fn advice(&mut self, story: &Story) {
        if story.advice.is_empty() && story.mitigations.is_empty() {
            return;
        }
        self.head("What to do");
        for advice in story.advice.iter().take(ADVICE_MAX) {
            self.line(2, 4, &format!("- {}: {}", advice.title, advice.text));
        }
        if story.advice.len() > ADVICE_MAX {
            let more = story.advice.len() - ADVICE_MAX;
            self.line(2, 4, &format!("- {more} more rules: their descriptions are in `rules`"));
        }
        if !story.mitigations.is_empty() {
            self.line(2, 2, "So that it does not happen again (MITRE ATLAS):");
        }
        for mitigation in story.mitigations.iter().take(MITIGATIONS_MAX) {
            let mut of = mitigation.techniques.clone();
            let more = of.len().saturating_sub(TECHNIQUES_SHOWN);
            if more > 0 {
                of.truncate(TECHNIQUES_SHOWN);
                of.push(format!("{more} more"));
            }
            let of = list(&of);
            self.line(
                2,
                4,
                &format!(
                    "- {} {}, for {of}: {}",
                    mitigation.id, mitigation.name, mitigation.what_to_do
                ),
            );
        }
    }
}
