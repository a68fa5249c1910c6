//! Full-text search over incidents: a tantivy index that is derived from the tables and can be rebuilt from them at any time.
//!
//! A query is words, all of which must match somewhere; `"…"` is a phrase, `OR`, `AND`, `-word` and `(…)` combine. A prefix
//! searches one field:
//!
//! | prefix | what it holds |
//! |---|---|
//! | `title:` | the incident's title |
//! | `entity:` | entities as `kind:value`; any part of an ARN, address, e-mail or name is found |
//! | `technique:` | ATT&CK and ATLAS ids; `T1078` finds `T1078.004` too |
//! | `severity:` `status:` `layer:` | exactly that word; one that no incident can have is an error |
//! | `text:` | the path: actions and the reasons for each step |
//! | `incident_id:` | one incident |
//!
//! # Durability
//!
//! [`Index::commit`] writes the newest *durable* epoch into the commit's payload. After a crash [`Index::committed_epoch`] says from
//! where the caller applies again; applying twice changes nothing. Commits between epochs make new incidents findable early; a
//! crash then leaves the index ahead of the tables. That does no harm, because hits are joined to the view that the query pinned:
//! what the tables do not hold vanishes there, and is overwritten when its epoch is applied again.

mod document;
mod query;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use tantivy::collector::TopDocs;
use tantivy::directory::MmapDirectory;
use tantivy::query::QueryParser;
use tantivy::schema::Value;
use tantivy::snippet::SnippetGenerator;
use tantivy::{IndexReader, IndexWriter, ReloadPolicy, TantivyDocument, TantivyError, Term};

use crate::model::Incident;
use document::Fields;

/// Memory of the writer before it spills a segment; near the least that tantivy accepts (15 MB), for incidents are few and small.
const WRITER_BYTES: usize = 32_000_000;

/// Most hits one search gives.
pub const HITS_MAX: usize = 1000;

/// Longest query, in bytes: a query's cost grows with its words.
pub const QUERY_BYTES_MAX: usize = 4096;

/// Most opening parentheses and `NOT`s in one query: tantivy's parser calls itself for each, and would end the process on a full stack.
pub const NESTING_MAX: usize = 16;

/// Characters of a snippet.
const SNIPPET_CHARS: usize = 160;

#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    #[error(
        "cannot understand the query `{query}`: {reason}. Write words, \"a phrase\", or FIELD:word with the fields {}",
        query::FIELDS.join(", ")
    )]
    Query { query: String, reason: String },

    #[error("the search index {dir} does not exist; it is made by `sentrail run`")]
    Absent { dir: PathBuf },

    #[error("the search index {dir} is in use by another process; one engine at a time can write to a data directory")]
    InUse { dir: PathBuf },

    /// Opening it for writing rebuilds it.
    #[error("the search index {dir} cannot be read ({reason}); `sentrail run` rebuilds it from the tables")]
    Unreadable { dir: PathBuf, reason: String },

    /// A full disk or a missing permission, mostly; retrying helps once that is mended.
    #[error("the search index {dir}: cannot {action}: {source}")]
    Failed {
        dir: PathBuf,
        action: &'static str,
        source: TantivyError,
    },
}

pub type Result<T> = std::result::Result<T, SearchError>;

/// One incident that matches.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    pub incident_id: String,
    /// Greater is better; comparable within one answer only.
    pub score: f32,
    /// Where the words stand, as plain text; the title when they stand nowhere in it.
    pub snippet: String,
}

/// The index with its one writer.
pub struct Index {
    dir: PathBuf,
    writer: IndexWriter,
    fields: Fields,
    searcher: Searcher,
    /// Changes since the last commit, and the epoch that it named.
    changed: bool,
    epoch: Option<u64>,
}

impl Index {
    /// Opens the index in `dir` for writing. One that is not there, that another version wrote, or that is damaged is made anew, empty;
    /// `committed_epoch` is then `None` and the caller applies everything. The whole index is read once to find damage.
    pub fn open_or_create(dir: &Path) -> Result<Index> {
        let index = match open_whole(dir) {
            Ok(Some(index)) => index,
            Ok(None) => create(dir)?,
            Err(reason) => {
                tracing::warn!(dir = %dir.display(), reason, "the search index cannot be used; rebuilding it");
                make_room(dir)?;
                create(dir)?
            }
        };
        document::register(&index);
        let writer = index
            .writer_with_num_threads(1, WRITER_BYTES)
            .map_err(|error| match error {
                TantivyError::LockFailure(..) => SearchError::InUse { dir: dir.to_owned() },
                error => failed(dir, "start its writer")(error),
            })?;
        // What a killed writer left of a commit that did not come to be: the next commit would want the same names.
        writer
            .garbage_collect_files()
            .wait()
            .map_err(failed(dir, "remove what an interrupted commit left"))?;
        let epoch = payload(&index).map_err(failed(dir, "read its commit"))?;
        let fields = Fields::of(&index.schema()).map_err(failed(dir, "read its schema"))?;
        let searcher = Searcher::over(index, dir)?;
        Ok(Index {
            dir: dir.to_owned(),
            writer,
            fields,
            searcher,
            changed: false,
            epoch,
        })
    }

    /// The newest revision of each incident replaces what the index held of it. Found after the next commit.
    pub fn apply(&mut self, incidents: &[Incident]) -> Result<()> {
        for incident in incidents {
            self.writer
                .delete_term(Term::from_field_text(self.fields.incident_id, &incident.incident_id));
            let document = self.fields.document(incident);
            self.writer
                .add_document(document)
                .map_err(failed(&self.dir, "add an incident"))?;
            self.changed = true;
        }
        Ok(())
    }

    /// Makes everything applied durable and findable. `epoch` is the newest durable epoch whose incidents have all been applied.
    pub fn commit(&mut self, epoch: u64) -> Result<()> {
        if !self.changed && self.epoch == Some(epoch) {
            return Ok(());
        }
        let mut prepared = self
            .writer
            .prepare_commit()
            .map_err(failed(&self.dir, "prepare a commit"))?;
        prepared.set_payload(&epoch.to_string());
        prepared.commit().map_err(failed(&self.dir, "commit"))?;
        self.changed = false;
        self.epoch = Some(epoch);
        self.searcher.reload()
    }

    /// The epoch that the last commit named; `None` when the index is new.
    pub fn committed_epoch(&self) -> Option<u64> {
        self.epoch
    }

    /// Empties the index; it takes effect with the next commit. What is applied after this is all it then holds.
    pub fn clear(&mut self) -> Result<()> {
        self.writer
            .delete_all_documents()
            .map_err(failed(&self.dir, "empty it"))?;
        self.changed = true;
        Ok(())
    }

    /// Searches what is committed; stays current, and can be given to other threads.
    pub fn searcher(&self) -> Searcher {
        self.searcher.clone()
    }
}

/// The reading side: no writer lock, so it works beside a running engine.
#[derive(Clone)]
pub struct Searcher {
    dir: PathBuf,
    reader: IndexReader,
    index: tantivy::Index,
    fields: Fields,
}

impl Searcher {
    /// Opens the index in `dir` as its last commit left it.
    pub fn open(dir: &Path) -> Result<Searcher> {
        if !dir.join("meta.json").exists() {
            return Err(SearchError::Absent { dir: dir.to_owned() });
        }
        let unreadable = |error: TantivyError| SearchError::Unreadable {
            dir: dir.to_owned(),
            reason: error.to_string(),
        };
        let index = tantivy::Index::open_in_dir(dir).map_err(unreadable)?;
        document::register(&index);
        Searcher::over(index, dir)
    }

    /// Moves to the last commit, made by this process or another.
    pub fn reload(&self) -> Result<()> {
        self.reader.reload().map_err(failed(&self.dir, "show a commit"))
    }

    fn over(index: tantivy::Index, dir: &Path) -> Result<Searcher> {
        let unreadable = |error: TantivyError| SearchError::Unreadable {
            dir: dir.to_owned(),
            reason: error.to_string(),
        };
        let fields = Fields::of(&index.schema()).map_err(unreadable)?;
        // The writer reloads it after each commit; nothing has to watch files.
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .try_into()
            .map_err(unreadable)?;
        Ok(Searcher {
            dir: dir.to_owned(),
            reader,
            index,
            fields,
        })
    }

    /// The best `limit` (at most [`HITS_MAX`]) incidents for `query`, best first.
    pub fn search(&self, query: &str, limit: usize) -> Result<Vec<Hit>> {
        let refuse = |reason: String| SearchError::Query {
            query: query::shorten(query),
            reason,
        };
        if query.len() > QUERY_BYTES_MAX {
            return Err(refuse(format!(
                "it has {} bytes, more than {QUERY_BYTES_MAX}",
                query.len()
            )));
        }
        if query.trim().is_empty() {
            return Err(refuse("it is empty".to_owned()));
        }
        if query.matches('(').count() + query.matches("NOT").count() > NESTING_MAX {
            return Err(refuse(format!(
                "it has more than {NESTING_MAX} opening parentheses and NOTs"
            )));
        }
        let fields = &self.fields;
        let mut parser = QueryParser::for_index(&self.index, fields.default_fields());
        parser.set_conjunction_by_default();
        parser.set_field_boost(fields.title, 2.0);
        let quoted = query::quote_values(query).map_err(&refuse)?;
        if let Some(reason) = query::impossible(&quoted) {
            return Err(refuse(reason));
        }
        let parsed = parser
            .parse_query(&quoted)
            .map_err(|error| refuse(query::explain(&error)))?;
        let searcher = self.reader.searcher();
        let failed = |error| failed(&self.dir, "search")(error);
        let collector = TopDocs::with_limit(limit.clamp(1, HITS_MAX)).order_by_score();
        let top = searcher.search(&parsed, &collector).map_err(|error| match error {
            // Ranges and `field:*` parse, and are refused only here: they would need columns that text does not have.
            TantivyError::SchemaError(_) | TantivyError::InvalidArgument(_) => {
                refuse("ranges and FIELD:* do not work on text".to_owned())
            }
            error => failed(error),
        })?;
        let mut snippets = SnippetGenerator::create(&searcher, &*parsed, fields.text).map_err(failed)?;
        snippets.set_max_num_chars(SNIPPET_CHARS);
        let mut hits = Vec::with_capacity(top.len());
        for (score, address) in top {
            let document: TantivyDocument = searcher.doc(address).map_err(failed)?;
            let stored = |field| {
                document
                    .get_first(field)
                    .and_then(|value| value.as_str())
                    .unwrap_or_default()
                    .to_owned()
            };
            let snippet = snippets.snippet_from_doc(&document).fragment().trim().to_owned();
            let snippet = if snippet.is_empty() {
                stored(fields.title)
            } else {
                snippet
            };
            hits.push(Hit {
                incident_id: stored(fields.incident_id),
                score,
                snippet,
            });
        }
        Ok(hits)
    }
}

fn failed(dir: &Path, action: &'static str) -> impl FnOnce(TantivyError) -> SearchError {
    move |source| SearchError::Failed {
        dir: dir.to_owned(),
        action,
        source,
    }
}

/// The index in `dir` if it is whole and of this version's schema, `None` if there is none, else why it cannot be used.
fn open_whole(dir: &Path) -> std::result::Result<Option<tantivy::Index>, String> {
    if !dir.join("meta.json").exists() {
        return Ok(None);
    }
    let index = tantivy::Index::open_in_dir(dir).map_err(|error| error.to_string())?;
    if index.schema() != document::schema() {
        return Err("its fields are those of another version".to_owned());
    }
    let damaged = index.validate_checksum().map_err(|error| error.to_string())?;
    if let Some(file) = damaged.iter().min() {
        return Err(format!("{} is damaged", file.display()));
    }
    document::register(&index);
    index
        .reader_builder()
        .reload_policy(ReloadPolicy::Manual)
        .try_into()
        .map_err(|error: TantivyError| error.to_string())?;
    Ok(Some(index))
}

fn create(dir: &Path) -> Result<tantivy::Index> {
    let io = |error: std::io::Error| failed(dir, "create it")(error.into());
    std::fs::create_dir_all(dir).map_err(io)?;
    let directory = MmapDirectory::open(dir).map_err(|error| failed(dir, "create it")(error.into()))?;
    tantivy::Index::open_or_create(directory, document::schema()).map_err(failed(dir, "create it"))
}

/// Removes an index that cannot be used. It is derived: nothing is lost. Only what tantivy wrote goes.
fn make_room(dir: &Path) -> Result<()> {
    let io = |error: std::io::Error| failed(dir, "remove its damaged files")(error.into());
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let locks = path.extension().is_some_and(|extension| extension == "lock");
        if path.is_file() && !locks {
            std::fs::remove_file(&path).map_err(io)?;
        }
    }
    Ok(())
}

fn payload(index: &tantivy::Index) -> tantivy::Result<Option<u64>> {
    Ok(index.load_metas()?.payload.and_then(|payload| payload.parse().ok()))
}
