//! An incident as a search document: the fields, how their text is cut into words, and what goes into each.

use std::fmt::Write as _;

use tantivy::TantivyDocument;
use tantivy::schema::{Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{LowerCaser, RawTokenizer, RemoveLongFilter, SimpleTokenizer, TextAnalyzer};

use crate::model::Incident;

/// Words at every character that is neither letter nor digit, in lower case: `arn:aws:iam::1:user/ci-bot` is `arn aws iam 1 user ci bot`,
/// and a query for `user/ci-bot` is the phrase `user ci bot`.
const PARTS: &str = "parts";

/// The whole text as one word, in lower case.
const WHOLE: &str = "whole";

/// Longer words are not indexed; above any id, hash or key there is, below what tantivy can hold.
const WORD_BYTES_MAX: usize = 256;

#[derive(Clone, Copy)]
pub(super) struct Fields {
    pub incident_id: Field,
    pub title: Field,
    pub entity: Field,
    pub technique: Field,
    pub severity: Field,
    pub status: Field,
    pub layer: Field,
    pub text: Field,
}

pub(super) fn schema() -> Schema {
    let indexed = |tokenizer, option| {
        TextOptions::default().set_indexing_options(
            TextFieldIndexing::default()
                .set_tokenizer(tokenizer)
                .set_index_option(option),
        )
    };
    let words = || indexed(PARTS, IndexRecordOption::WithFreqsAndPositions);
    let whole = || indexed(WHOLE, IndexRecordOption::Basic);
    let mut schema = Schema::builder();
    // `raw`, not lower case: documents are replaced by this exact term.
    schema.add_text_field("incident_id", indexed("raw", IndexRecordOption::Basic).set_stored());
    schema.add_text_field("title", words().set_stored());
    schema.add_text_field("entity", words());
    schema.add_text_field("technique", whole());
    schema.add_text_field("severity", whole());
    schema.add_text_field("status", whole());
    schema.add_text_field("layer", whole());
    schema.add_text_field("text", words().set_stored());
    schema.build()
}

/// Tantivy keeps the names of tokenizers in an index, not what they do.
pub(super) fn register(index: &tantivy::Index) {
    let parts = TextAnalyzer::builder(SimpleTokenizer::default()).filter(RemoveLongFilter::limit(WORD_BYTES_MAX));
    index.tokenizers().register(PARTS, parts.filter(LowerCaser).build());
    let whole = TextAnalyzer::builder(RawTokenizer::default()).filter(RemoveLongFilter::limit(WORD_BYTES_MAX));
    index.tokenizers().register(WHOLE, whole.filter(LowerCaser).build());
}

impl Fields {
    pub(super) fn of(schema: &Schema) -> tantivy::Result<Fields> {
        Ok(Fields {
            incident_id: schema.get_field("incident_id")?,
            title: schema.get_field("title")?,
            entity: schema.get_field("entity")?,
            technique: schema.get_field("technique")?,
            severity: schema.get_field("severity")?,
            status: schema.get_field("status")?,
            layer: schema.get_field("layer")?,
            text: schema.get_field("text")?,
        })
    }

    /// Where words without a prefix are looked for. `text` holds the path's entities too, and gives the snippet.
    pub(super) fn default_fields(&self) -> Vec<Field> {
        vec![
            self.title,
            self.entity,
            self.technique,
            self.text,
            self.incident_id,
            self.severity,
            self.layer,
        ]
    }

    pub(super) fn document(&self, incident: &Incident) -> TantivyDocument {
        let mut document = TantivyDocument::default();
        document.add_text(self.incident_id, &incident.incident_id);
        document.add_text(self.title, &incident.title);
        document.add_text(self.severity, incident.severity.text());
        document.add_text(self.status, incident.status.text());
        for entity in &incident.entities {
            document.add_text(self.entity, entity);
        }
        for layer in &incident.layers {
            document.add_text(self.layer, layer);
        }
        for technique in &incident.techniques {
            document.add_text(self.technique, technique);
            // T1078.004 is found as T1078, AML.T0051.000 as AML.T0051.
            if let Some((parent, _)) = technique.rsplit_once('.').filter(|(parent, _)| *parent != "AML") {
                document.add_text(self.technique, parent);
            }
        }
        document.add_text(self.text, story(incident));
        document
    }
}

/// The path in words, one step per line, then what the score says.
fn story(incident: &Incident) -> String {
    let mut text = String::new();
    for step in &incident.path {
        let _ = write!(text, "{} {} {}", step.from_entity, step.action, step.to_entity);
        if let Some(technique) = &step.technique {
            let _ = write!(text, " [{technique}]");
        }
        let _ = writeln!(text, ": {}", step.why);
    }
    for part in &incident.score_parts {
        let _ = writeln!(text, "{}: {}", part.name, part.why);
    }
    text
}
