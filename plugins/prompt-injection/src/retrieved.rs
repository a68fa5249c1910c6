//! What tools gave back: pages, mails, files. A sentence in it that tells a model what to do was written by nobody who may.

use crate::features::Extractor;
use crate::fold::fold;
use crate::model::{Head, Model};

/// Sentences beyond this many of one text are not looked at.
const MOST_SENTENCES: usize = 2000;
/// Fewer words are a heading or a button.
const FEWEST_WORDS: usize = 3;

/// The sentences of a text, each as its words; a line's end ends one.
pub fn sentences(text: &str) -> impl Iterator<Item = Vec<String>> {
    let words = fold(text).0;
    let mut rest = words.into_iter();
    std::iter::from_fn(move || {
        let sentence: Vec<String> = rest.by_ref().take_while(|word| word != ".").collect();
        let ended = sentence.is_empty() && rest.len() == 0;
        (!ended).then_some(sentence)
    })
    .filter(|sentence| sentence.len() >= FEWEST_WORDS)
    .take(MOST_SENTENCES)
}

/// By which margin the sentence that reads most like an instruction to a model does.
pub fn most_telling(text: &str, extractor: &Extractor, model: &Model) -> Option<f32> {
    sentences(text)
        .map(|sentence| model.margin(Head::Instruction, &extractor.of(&sentence)))
        .max_by(f32::total_cmp)
}
