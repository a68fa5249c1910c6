//! Names of publishers: which are known, and which only look like them.

/// Publishers that people load models and images from. Well known, so worth imitating.
const KNOWN: &[&str] = &[
    "meta-llama",
    "facebook",
    "google",
    "google-bert",
    "openai",
    "openai-community",
    "microsoft",
    "mistralai",
    "mistral-ai",
    "deepseek-ai",
    "nvidia",
    "stabilityai",
    "stability-ai",
    "bigscience",
    "bigcode",
    "eleutherai",
    "tiiuae",
    "sentence-transformers",
    "huggingface",
    "huggingfaceh4",
    "huggingfacetb",
    "baai",
    "ibm-granite",
    "coherelabs",
    "cohereforai",
    "allenai",
    "databricks",
    "mosaicml",
    "runwayml",
    "black-forest-labs",
    "openbmb",
    "unsloth",
    "thebloke",
    "bartowski",
    "moonshotai",
    "zai-org",
    "internlm",
    "lmsys",
    "nousresearch",
    "anthropic",
    "amazon",
    "apple",
    "intel",
    "salesforce",
    "snowflake",
    "pytorch",
    "tensorflow",
    "pyannote",
    "distilbert",
    "qwen",
    "comp-vis",
    "compvis",
    "laion",
    "nomic-ai",
    "jinaai",
    "mixedbread-ai",
    "microsoftresearch",
    "tencent",
    "alibaba-nlp",
    "speechbrain",
];

/// Names shorter than this are too near to one another for a letter to say anything.
const LENGTH_MIN: usize = 6;

/// Names that are known.
pub struct Publishers(Vec<Known>);

struct Known {
    name: String,
    lower: String,
    /// As [`fold`] leaves it.
    folded: Vec<char>,
}

impl Publishers {
    /// `more` are further names that are known.
    pub fn new(more: &[String]) -> Self {
        let names = KNOWN.iter().copied().chain(more.iter().map(String::as_str));
        let known = |name: &str| {
            let lower = name.to_lowercase();
            Known {
                name: name.to_owned(),
                folded: fold(&lower).chars().collect(),
                lower,
            }
        };
        Self(names.map(known).collect())
    }

    /// The publisher that `name` imitates: it reads the same once look-alikes and dashes are taken out, or is one slip of the fingers
    /// away. A known name imitates nobody.
    pub fn imitated(&self, name: &str) -> Option<&str> {
        let lower = name.to_lowercase();
        // A hub's names do not differ by case alone.
        if lower.len() > 128 || self.0.iter().any(|known| known.lower == lower) {
            return None;
        }
        let folded: Vec<char> = fold(&lower).chars().collect();
        let alike = |known: &&Known| {
            let long = known.folded.len() >= LENGTH_MIN;
            known.folded == folded && !folded.is_empty() || long && one_slip(&known.folded, &folded)
        };
        self.0.iter().find(alike).map(|known| known.name.as_str())
    }
}

/// The name as a hasty reader sees it.
fn fold(name: &str) -> String {
    let mut folded = String::with_capacity(name.len());
    for c in name.chars() {
        folded.push(match c {
            '-' | '_' | '.' | '\u{200b}'..='\u{200f}' | '\u{2010}'..='\u{2015}' => continue,
            '0' | '\u{3bf}' | '\u{43e}' | '\u{585}' => 'o',
            '1' | '|' | '\u{131}' | '\u{456}' | '\u{4cf}' | 'l' => 'i',
            '3' | '\u{435}' | '\u{3b5}' | '\u{451}' => 'e',
            '4' | '\u{430}' | '\u{3b1}' => 'a',
            '5' | '\u{455}' => 's',
            '\u{440}' | '\u{3c1}' => 'p',
            '\u{441}' | '\u{3f2}' => 'c',
            '\u{445}' | '\u{3c7}' => 'x',
            '\u{443}' | '\u{3b3}' => 'y',
            '\u{43c}' => 'm',
            '\u{43d}' => 'h',
            '\u{43a}' | '\u{3ba}' => 'k',
            '\u{442}' | '\u{3c4}' => 't',
            '\u{475}' | '\u{3bd}' => 'v',
            c => c,
        });
    }
    folded.replace("rn", "m").replace("vv", "w")
}

/// Whether one letter more, fewer, other, or two that changed places, make one of the other.
fn one_slip(one: &[char], other: &[char]) -> bool {
    // One letter more or fewer at most.
    if one.len().abs_diff(other.len()) > 1 {
        return false;
    }
    let same = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let (one, other) = (&one[same..], &other[same..]);
    match (one, other) {
        ([], []) => false,
        ([a, b, rest @ ..], [c, d, more @ ..]) if a == d && b == c && rest == more => true,
        ([_, rest @ ..], [_, more @ ..]) if rest == more => true,
        ([_, rest @ ..], other) if rest == other => true,
        (one, [_, more @ ..]) if one == more => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::Publishers;

    #[test]
    fn imitations_are_told_from_names() {
        for (name, whom) in [
            ("meta-1lama", Some("meta-llama")),
            ("metallama", Some("meta-llama")),
            ("meta-lama", Some("meta-llama")),
            ("misrtalai", Some("mistralai")),
            ("deepseek_ai", Some("deepseek-ai")),
            ("\u{43e}penai", Some("openai")),
            ("rnicrosoft", Some("microsoft")),
            ("hugingface", Some("huggingface")),
            ("acme-corb", Some("acme-corp")),
            ("Meta-Llama", None),
            ("stability-ai", None),
            ("acme-corp", None),
            ("ranker-team", None),
            ("goo", None),
            ("", None),
        ] {
            let publishers = Publishers::new(&["acme-corp".to_owned()]);
            assert_eq!(publishers.imitated(name), whom, "{name}");
        }
    }
}
