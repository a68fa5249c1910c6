//! Makes model.bin, the same bits from the same texts: `cargo xtask train [--data DIR] [--leave-one-out]`

mod fit;
mod grammar;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fit::{Case, fit};
use prompt_injection::{Extractor, HEADS, Head, Model, Scorer, fold, most_telling, sentences};
use sentrail_plugin::json::{self, Value};

/// Texts of our own.
const GRAMMARS: [&str; 4] = [
    include_str!("../../train/harm.txt"),
    include_str!("../../train/manipulation.txt"),
    include_str!("../../train/ordinary.txt"),
    include_str!("../../train/instruction.txt"),
];
/// By their order in `HEADS`.
const LABELS: [&str; HEADS.len()] = ["manipulation", "harm", "abuse", "instruction"];
/// How sure each head must be. Manipulations have rules as well, so there the model may be careful.
const SHIFTS: [f32; HEADS.len()] = [0.35, 0.0, 0.25, 0.5];
/// Clean documents.
const MAILS: &str = "bipia-context-email";
/// From this score a text is reported.
const THRESHOLD: u32 = 10;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut data = home.join("../../../shared/data");
    let mut leave_one_out = false;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--data" => data = PathBuf::from(words.next().ok_or("--data needs a directory")?),
            "--leave-one-out" => leave_one_out = true,
            other => {
                return Err(format!(
                    "`{other}` is not known; there are --data DIR and --leave-one-out"
                ));
            }
        }
    }
    let file = data.join("prompts/prompts.ndjson");
    if !file.exists() {
        println!("skipped: ../shared/data is absent");
        return Ok(());
    }
    let (extractor, of_sentences) = (Extractor::requests(), Extractor::sentences());
    let case = |label, source: &str, text: &str| Case {
        label,
        source: source.to_owned(),
        features: extractor.of(&fold(text).0),
        text: text.to_owned(),
    };
    let read = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let (mut cases, mut told, mut payloads) = (Vec::new(), Vec::new(), Vec::new());
    for (number, line) in read.lines().enumerate() {
        let record: Value =
            json::from_str(line).map_err(|error| format!("{}, line {}: {error}", file.display(), number + 1))?;
        let field = |name: &str| record[name].as_str().unwrap_or_default();
        let sentence = |words: &Vec<String>, told| Case {
            label: told,
            source: field("source").to_owned(),
            features: of_sentences.of(words),
            text: field("text").to_owned(),
        };
        let mut sentences = sentences(field("text"));
        match (field("label"), field("category")) {
            // Only the first sentence of what is told a model is an instruction for certain.
            ("indirect_payload", _) | ("benign", "instruction") => {
                told.extend(
                    sentences
                        .next()
                        .map(|words| sentence(&words, Some(Head::Instruction as usize))),
                );
            }
            ("benign", _) => told.extend(sentences.map(|words| sentence(&words, None))),
            _ => {}
        }
        let label = match (field("label"), field("category")) {
            // Harmless in themselves: what makes them attacks is where they stand.
            ("indirect_payload", _) => {
                payloads.push((field("source").to_owned(), field("text").to_owned()));
                continue;
            }
            ("malicious", "harmful_request") => Some(1),
            ("malicious", category) if category.starts_with("code_interpreter") => Some(2),
            ("malicious", _) => Some(0),
            _ => None,
        };
        cases.push(case(label, field("source"), field("text")));
    }
    let of_data = cases.len();
    let mut grammar = grammar::Grammar::default();
    for file in GRAMMARS {
        grammar.read(file);
    }
    for (label, list, text) in grammar.texts() {
        let number = LABELS.iter().position(|known| *known == label);
        let source = format!("grammar, {list}");
        if label == "instruction" || label == "document" {
            let first = sentences(&text).next();
            told.extend(first.map(|words| Case {
                label: number,
                source,
                features: of_sentences.of(&words),
                text,
            }));
        } else {
            cases.push(case(number, &source, &text));
        }
    }
    if leave_one_out {
        print_left_out(&cases, of_data, &told, &payloads);
        return Ok(());
    }
    let all: Vec<&Case> = cases.iter().collect();
    let file = home.join("model.bin");
    let told: Vec<&Case> = told.iter().collect();
    std::fs::write(&file, train(&all, &told)).map_err(|error| format!("{}: {error}", file.display()))?;
    println!(
        "{} texts, {} of them of the data set: {}",
        all.len(),
        of_data,
        file.display()
    );
    Ok(())
}

/// Of what callers ask, and of sentences that tools give back.
fn train(asked: &[&Case], told: &[&Case]) -> Vec<u8> {
    let cases = |head| {
        if head == Head::Instruction as usize {
            told
        } else {
            asked
        }
    };
    (0..HEADS.len())
        .flat_map(|head| fit(cases(head), head, SHIFTS[head]))
        .collect()
}

/// What is flagged of each source of the data set by a model that saw nothing of its family, beside the rules alone.
fn print_left_out(cases: &[Case], of_data: usize, told: &[Case], payloads: &[(String, String)]) {
    let family = |source: &str| {
        let endings = ["-seed", "-user", "-train", "-test"];
        let whole = endings.iter().find_map(|ending| source.strip_suffix(ending));
        whole.unwrap_or(source).to_owned()
    };
    let but = |cases: &'_ [Case], source: &str| -> Vec<usize> {
        let seen = |case: &Case| family(&case.source) != family(source);
        (0..cases.len()).filter(|at| seen(&cases[*at])).collect()
    };
    let without = |source: &str| {
        let asked: Vec<&Case> = but(cases, source).into_iter().map(|at| &cases[at]).collect();
        let told: Vec<&Case> = but(told, source).into_iter().map(|at| &told[at]).collect();
        Model::new(train(&asked, &told)).unwrap_or_default()
    };
    let sources: BTreeSet<&str> = cases[..of_data].iter().map(|case| case.source.as_str()).collect();
    let silent = Scorer::new(None);
    println!(
        "{:26} {:>5}  {:>10}  {:>10}",
        "left out", "texts", "rules", "with model"
    );
    for source in sources {
        let scorer = Scorer::new(Some(without(source)));
        let texts: Vec<&Case> = cases[..of_data].iter().filter(|case| case.source == source).collect();
        let share = |scorer: &Scorer| {
            let flagged = texts
                .iter()
                .filter(|case| scorer.score(&case.text).total() >= THRESHOLD);
            flagged.count() as f32 / texts.len() as f32
        };
        println!(
            "{source:26} {:>5}  {:>10.3}  {:>10.3}",
            texts.len(),
            share(&silent),
            share(&scorer)
        );
    }
    let extractor = Extractor::sentences();
    println!("\n{:26} {:>5}  {:>10}", "left out, from a tool", "texts", "told");
    let mails = cases[..of_data].iter().filter(|case| case.source == MAILS);
    let mut by_source: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (source, text) in mails
        .map(|case| (&case.source, &case.text))
        .chain(payloads.iter().map(|(one, two)| (one, two)))
    {
        by_source.entry(source).or_default().push(text);
    }
    for (source, texts) in by_source {
        let model = without(source);
        let is_told = |text: &&&str| most_telling(text, &extractor, &model).is_some_and(|margin| margin >= 0.0);
        let share = texts.iter().filter(is_told).count() as f32 / texts.len() as f32;
        println!("{source:26} {:>5}  {share:>10.3}", texts.len());
    }
}
