//! `sentrail formats`

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::config;
use crate::model::time::SECOND;
use crate::normalize::{Format, Normalizer};

#[derive(clap::Args)]
pub struct Arguments {
    /// As one Markdown page, with what each format fills and how it is known.
    #[arg(long)]
    markdown: bool,
    /// A directory of mappings of your own, beside those of the build.
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub fn formats(arguments: &Arguments) -> anyhow::Result<()> {
    let formats = all(arguments.dir.as_deref())?;
    super::out(&if arguments.markdown {
        markdown(&formats)
    } else {
        list(&formats)
    })
}

fn all(dir: Option<&Path>) -> anyhow::Result<Vec<Format>> {
    Ok(Normalizer::new(&[], &config::read_formats(dir)?)?.formats())
}

fn list(formats: &[Format]) -> String {
    let mut text = String::new();
    for format in formats {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:22} {:36} {}",
            format.name,
            format.layers.join(","),
            format.title
        );
    }
    text
}

/// schemas/FORMATS.md
fn markdown(formats: &[Format]) -> String {
    let mut page = String::from(
        "# Log formats\n\nWritten by `sentrail formats --markdown` from schemas/sources; a test keeps it so.\n\n\
         | format | log | layers | findings |\n|---|---|---|---|\n",
    );
    for format in formats {
        let findings = if format.findings { "yes" } else { "" };
        let _ = writeln!(
            page,
            "| [{0}](#{0}) | {1} | {2} | {findings} |",
            format.name,
            format.title,
            format.layers.join(", ")
        );
    }
    for format in formats {
        let _ = write!(page, "\n## {}\n\n{}.\n\n", format.name, format.title);
        if format.lines {
            page.push_str("Records are lines, no JSON.\n\n");
        }
        match format.known_by.as_slice() {
            [] => page.push_str("Known by its template.\n"),
            [one] => drop(writeln!(page, "Known by: {one}.")),
            several => drop(writeln!(page, "Known by: {}.", several.join("; or "))),
        }
        let _ = writeln!(
            page,
            "\nEvents may come {} s late: {}. A record {}.",
            format.lateness / SECOND,
            format.lateness_reason,
            if format.own_id {
                "has an id of its own"
            } else {
                "is known by its position"
            }
        );
        let columns: Vec<String> = format.columns.iter().map(|column| format!("`{column}`")).collect();
        let _ = writeln!(page, "\nFills: `time`, {}.", columns.join(", "));
        for relation in &format.relations {
            let _ = writeln!(
                page,
                "{}- {relation}",
                if Some(relation) == format.relations.first() {
                    "\nStates:\n\n"
                } else {
                    ""
                }
            );
        }
    }
    page
}

/// `SENTRAIL_BLESS=1` writes the page anew.
#[test]
fn the_page_of_formats_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/FORMATS.md");
    let page = markdown(&all(None).unwrap());
    if std::env::var_os("SENTRAIL_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let held = std::fs::read_to_string(&path).unwrap();
    assert!(
        held == page,
        "{} is not what `sentrail formats --markdown` says",
        path.display()
    );
}
