//! Texts of files within a detector's settings: a detector has no files, so what an operator keeps in one, a feed of indicators or
//! a set of rules, is put in its place here.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::watch::read_bounded;

/// Most bytes that the files of one detector have together: all of it goes through the detector's memory, which is bounded too.
const BYTES_MAX: u64 = 64 << 20;
/// Most files that one detector's settings name: more than the largest public set of rules.
const FILES_MAX: usize = 10_000;

/// The settings with each table `{ file = "PATH" }` replaced by that file's text, and each `{ files = "GLOB" }` by a list of
/// `{ name, text }` in the order of the names. What identifies a configuration must be taken from the result: it changes when a file does.
///
/// The error is one sentence that names the key, the file and what would be valid. Reads files, and blocks meanwhile.
pub fn insert_files(settings: &Value) -> Result<Value, String> {
    let mut read = Reader {
        bytes_left: BYTES_MAX,
        files_left: FILES_MAX,
    };
    read.insert(settings, "")
}

/// What may still be read.
struct Reader {
    bytes_left: u64,
    files_left: usize,
}

impl Reader {
    /// `key` leads to `value`. The depth is bounded by that of the document which it stood in.
    fn insert(&mut self, value: &Value, key: &str) -> Result<Value, String> {
        match value {
            Value::Object(table) => match named(table) {
                Some(("file", path)) => self.text(Path::new(path), key).map(Value::String),
                Some((_, pattern)) => self.texts(pattern, key),
                None => {
                    let inner = table.iter().map(|(name, value)| {
                        let key = if key.is_empty() {
                            name.clone()
                        } else {
                            format!("{key}.{name}")
                        };
                        Ok((name.clone(), self.insert(value, &key)?))
                    });
                    inner.collect::<Result<Map<_, _>, String>>().map(Value::Object)
                }
            },
            Value::Array(items) => {
                let inner = items.iter().enumerate();
                let inner = inner.map(|(index, item)| self.insert(item, &format!("{key}[{index}]")));
                inner.collect::<Result<Vec<_>, String>>().map(Value::Array)
            }
            other => Ok(other.clone()),
        }
    }

    fn texts(&mut self, pattern: &str, key: &str) -> Result<Value, String> {
        let wrong = |reason: String| format!("{key}: files = \"{pattern}\": {reason}");
        let found = glob::glob(pattern).map_err(|error| wrong(format!("no pattern of files: {error}")))?;
        let mut texts = Vec::new();
        // In the order of the names, as the pattern gives them.
        for path in found {
            let path = path.map_err(|error| wrong(format!("cannot read it: {error}")))?;
            if path.is_dir() {
                continue;
            }
            let text = self.text(&path, key)?;
            texts.push(json!({ "name": path.display().to_string(), "text": text }));
        }
        if texts.is_empty() {
            return Err(wrong("no file is so called".into()));
        }
        Ok(Value::Array(texts))
    }

    fn text(&mut self, path: &Path, key: &str) -> Result<String, String> {
        let wrong = |reason: String| format!("{key}: {}: {reason}", path.display());
        if self.files_left == 0 {
            return Err(wrong(format!("more than {FILES_MAX} files are named")));
        }
        self.files_left -= 1;
        let bytes = read_bounded(path, self.bytes_left).map_err(|reason| match std::fs::metadata(path) {
            Ok(held) if held.is_file() && held.len() > self.bytes_left => wrong(format!(
                "with it the files have more than {} MiB together",
                BYTES_MAX >> 20
            )),
            _ => wrong(reason),
        })?;
        let left = self.bytes_left.saturating_sub(bytes.len() as u64);
        self.bytes_left = left;
        let text = String::from_utf8(bytes).map_err(|error| {
            let before = error
                .as_bytes()
                .get(..error.utf8_error().valid_up_to())
                .unwrap_or_default();
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            wrong(format!("line {line}: valid is text in UTF-8"))
        })?;
        // Editors on some systems put a byte order mark before it.
        Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
    }
}

/// What a table names, if it does nothing else.
fn named(table: &Map<String, Value>) -> Option<(&str, &str)> {
    let (key, value) = table.iter().next().filter(|_| table.len() == 1)?;
    let named = matches!(key.as_str(), "file" | "files");
    named.then_some((key.as_str(), value.as_str()?))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    fn dir(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, bytes) in files {
            fs::write(dir.path().join(name), bytes).expect("written");
        }
        dir
    }

    #[test]
    fn tables_that_name_files_become_their_texts() {
        let dir = dir(&[
            ("b.yml", b"second"),
            ("a.yml", b"\xef\xbb\xbffirst"),
            ("feed.csv", b"198.51.100.7\n"),
        ]);
        let at = |name: &str| dir.path().join(name).display().to_string();
        let settings = json!({
            "threshold": 3,
            "feeds": [{ "name": "own", "text": { "file": at("feed.csv") } }],
            "rules": { "files": at("*.yml") },
            "kept": { "file": "x", "more": 1 },
        });
        let expected = json!({
            "threshold": 3,
            "feeds": [{ "name": "own", "text": "198.51.100.7\n" }],
            "rules": [{ "name": at("a.yml"), "text": "first" }, { "name": at("b.yml"), "text": "second" }],
            "kept": { "file": "x", "more": 1 },
        });
        assert_eq!(insert_files(&settings), Ok(expected));
    }

    #[test]
    fn errors_name_the_key_and_the_file() {
        let dir = dir(&[("latin.csv", b"a\nb\xe9\n")]);
        let at = |name: &str| dir.path().join(name).display().to_string();
        for (settings, words) in [
            (
                json!({ "feeds": [{ "text": { "file": at("gone") } }] }),
                "feeds[0].text: ",
            ),
            (json!({ "a": { "b": { "file": at("latin.csv") } } }), "a.b: "),
            (
                json!({ "a": { "file": at("latin.csv") } }),
                "latin.csv: line 2: valid is text in UTF-8",
            ),
            (json!({ "a": { "file": at("") } }), "it is no regular file"),
            (json!({ "rules": { "files": at("*.yml") } }), "no file is so called"),
            (
                json!({ "rules": { "files": "a/**b" } }),
                "rules: files = \"a/**b\": no pattern",
            ),
        ] {
            let error = insert_files(&settings).expect_err("refused");
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn what_files_hold_together_is_bounded() {
        let dir = dir(&[("large", b"")]);
        let path = dir.path().join("large");
        let sparse = File::create(&path).expect("created");
        sparse.set_len(BYTES_MAX / 2 + 1).expect("sized");
        let one = json!({ "file": path.display().to_string() });
        assert!(insert_files(&json!({ "a": one })).is_ok());
        let error = insert_files(&json!({ "a": one, "b": one })).expect_err("too much");
        assert!(error.starts_with("b: ") && error.contains("64 MiB"), "{error}");
    }
}
