//! The part of a prompt that was asked last.

/// Words that make a question; fewer are the end of one.
const WORDS: usize = 4;
const LINES: usize = 5;
const BYTES: usize = 2_000;

/// The end of a prompt: its last lines up to the first that together have four words, at most five lines and 2,000 bytes. System prompt
/// and history stand before it and are the same in many requests.
pub fn asked(prompt: &str) -> &str {
    let prompt = prompt.trim_end();
    let mut from = prompt.len().saturating_sub(BYTES);
    while !prompt.is_char_boundary(from) {
        from += 1;
    }
    let end = &prompt[from..];
    let starts = end.match_indices('\n').map(|(at, _)| at + 1);
    let starts: Vec<usize> = std::iter::once(0).chain(starts).collect();
    let lines = starts.iter().rev().take(LINES);
    let question = lines
        .map(|at| &end[*at..])
        .reduce(|last, longer| if has_words(last) { last } else { longer });
    question.unwrap_or(end).trim()
}

fn has_words(text: &str) -> bool {
    text.split_whitespace().nth(WORDS - 1).is_some()
}

#[cfg(test)]
mod tests {
    use super::asked;

    #[test]
    fn the_end_of_a_prompt_is_what_was_asked() {
        assert_eq!(
            asked("You are kind.\nWhat is the capital of Peru?\n"),
            "What is the capital of Peru?"
        );
        assert_eq!(
            asked("You are a kind helper.\nQ: Who wrote Faust?\nA:"),
            "Q: Who wrote Faust?\nA:"
        );
        assert_eq!(asked("hello"), "hello");
        assert_eq!(asked(""), "");
        assert_eq!(asked(&"ä".repeat(5_000)).len(), 2_000);
    }
}
