//! Tables of databases that hold anything, of which those with vectors are told by their names.

/// Whether a service keeps vectors among the tables of everyday business.
pub fn is_relational(service: &str) -> bool {
    matches!(service, "postgresql" | "snowflake")
}

/// Whether one of `words`, in small letters, is a word of a name, or one of five letters and more begins one.
pub fn is_named(name: &str, words: &[String]) -> bool {
    name.to_lowercase().split(|c: char| !c.is_alphanumeric()).any(|part| {
        words
            .iter()
            .any(|word| part == word || word.len() >= 5 && part.starts_with(word.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::is_named;

    #[test]
    fn tables_of_vectors_are_told_by_their_words() {
        let words: Vec<String> = ["embedding", "rag", "train"].map(String::from).to_vec();
        for name in ["public.langchain_pg_embedding", "RAG_CHUNKS", "ML.TRAINING.ROWS"] {
            assert!(is_named(name, &words), "{name}");
        }
        for name in ["public.orders", "storage", "constraints", ""] {
            assert!(!is_named(name, &words), "{name}");
        }
    }
}
