//! Reading a text as a model reads it: look-alike letters, invisible characters and spaced-out letters do not hide a word.

/// A word of at most this many letters with digits among them may be a word in disguise; longer ones are ids.
const LONGEST_DISGUISE: usize = 16;

/// What was found while folding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disguise {
    /// Invisible characters between letters.
    pub invisible: u32,
    /// Characters that turn the direction of the text.
    pub turned: u32,
    /// Characters of the invisible tag alphabet, which spell text that only a model reads.
    pub tags: u32,
    /// Words that mix Latin letters with look-alikes of other alphabets.
    pub mixed: u32,
}

/// The text's words in plain lower-case ASCII where they have such a form; other words are kept. Sentence ends become a word
/// of their own, `.`.
pub fn fold(text: &str) -> (Vec<String>, Disguise) {
    let mut folding = Folding::default();
    if text.is_ascii() {
        for byte in text.bytes() {
            folding.letter(byte.to_ascii_lowercase() as char);
        }
    } else {
        for letter in text.chars() {
            folding.any(letter);
        }
    }
    folding.end_word();
    (join_letters(folding.words), folding.disguise)
}

#[derive(Default)]
struct Folding {
    words: Vec<String>,
    word: String,
    latin: bool,
    foreign: bool,
    disguise: Disguise,
}

impl Folding {
    fn any(&mut self, letter: char) {
        match letter {
            '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{ad}' | '\u{180e}' => {
                // A joiner between emoji is ordinary; between letters it splits a word.
                if self.word.chars().last().is_some_and(char::is_alphabetic) {
                    self.disguise.invisible += 1;
                }
            }
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => self.disguise.turned += 1,
            '\u{e0020}'..='\u{e007e}' => {
                self.disguise.tags += 1;
                let plain = char::from_u32(letter as u32 - 0xe0000).unwrap_or(' ');
                self.letter(plain.to_ascii_lowercase());
            }
            _ => match look_alike(letter) {
                Some(plain) => {
                    self.foreign = true;
                    self.letter(plain);
                }
                None => {
                    let letter = letter.to_lowercase().next().unwrap_or(letter);
                    self.latin |= letter.is_ascii_alphabetic();
                    self.letter(letter);
                }
            },
        }
    }

    fn letter(&mut self, letter: char) {
        match letter {
            '\'' | '’' | '‘' => {}
            _ if letter.is_alphanumeric() => self.word.push(letter),
            '.' | '!' | '?' | ';' | '\n' => {
                self.end_word();
                if self.words.last().is_some_and(|last| last != ".") {
                    self.words.push(".".into());
                }
            }
            _ => self.end_word(),
        }
    }

    fn end_word(&mut self) {
        if self.latin && self.foreign {
            self.disguise.mixed += 1;
        }
        self.latin = false;
        self.foreign = false;
        if self.word.is_empty() {
            return;
        }
        let word = std::mem::take(&mut self.word);
        self.words.push(unmask(word));
    }
}

/// Digits that stand for letters within a word become those letters.
fn unmask(word: String) -> String {
    let letters = word.chars().filter(|letter| letter.is_alphabetic()).count();
    let masked = letters >= 2
        && letters < word.len()
        && word.len() <= LONGEST_DISGUISE
        && !word.starts_with(|c: char| c.is_ascii_digit() && c > '1');
    if !masked {
        return word;
    }
    word.chars()
        .map(|letter| match letter {
            '0' => 'o',
            '1' => 'i',
            '3' => 'e',
            '4' => 'a',
            '5' => 's',
            '7' => 't',
            other => other,
        })
        .collect()
}

/// `i g n o r e` is one word.
fn join_letters(words: Vec<String>) -> Vec<String> {
    const FEWEST: usize = 4;
    let single = |word: &String| word.len() == 1 && word.as_bytes()[0].is_ascii_alphabetic();
    if !words.windows(FEWEST).any(|run| run.iter().all(single)) {
        return words;
    }
    let mut joined: Vec<String> = Vec::with_capacity(words.len());
    let mut run = String::new();
    for word in words.into_iter().chain(std::iter::once(String::new())) {
        if single(&word) {
            run.push_str(&word);
            continue;
        }
        if run.len() >= FEWEST {
            joined.push(std::mem::take(&mut run));
        } else {
            joined.extend(run.drain(..).map(String::from));
        }
        if !word.is_empty() {
            joined.push(word);
        }
    }
    joined
}

/// The ASCII letter that a letter of another alphabet or style looks like.
fn look_alike(letter: char) -> Option<char> {
    let plain = match letter {
        'а' | 'А' | 'α' | 'Α' | 'ɑ' => 'a',
        'В' | 'Β' | 'в' => 'b',
        'с' | 'С' | 'ϲ' => 'c',
        'ԁ' => 'd',
        'е' | 'Е' | 'ε' | 'Ε' | 'ё' => 'e',
        'ɡ' => 'g',
        'һ' | 'Н' | 'Η' => 'h',
        'і' | 'І' | 'ι' | 'Ι' | 'ı' => 'i',
        'ј' | 'Ј' => 'j',
        'к' | 'К' | 'κ' | 'Κ' => 'k',
        'ӏ' | 'Ӏ' => 'l',
        'м' | 'М' | 'Μ' => 'm',
        'ո' | 'Ν' => 'n',
        'о' | 'О' | 'ο' | 'Ο' | 'օ' => 'o',
        'р' | 'Р' | 'ρ' | 'Ρ' => 'p',
        'ѕ' | 'Ѕ' => 's',
        'т' | 'Т' | 'τ' | 'Τ' => 't',
        'υ' | 'ս' => 'u',
        'ν' | 'ѵ' => 'v',
        'ѡ' | 'ω' => 'w',
        'х' | 'Х' | 'χ' | 'Χ' => 'x',
        'у' | 'У' | 'Υ' => 'y',
        'Ζ' => 'z',
        '\u{ff21}'..='\u{ff3a}' => return alphabet(letter, 0xff21),
        '\u{ff41}'..='\u{ff5a}' => return alphabet(letter, 0xff41),
        '\u{1f130}'..='\u{1f149}' => return alphabet(letter, 0x1f130),
        '\u{24b6}'..='\u{24cf}' => return alphabet(letter, 0x24b6),
        '\u{24d0}'..='\u{24e9}' => return alphabet(letter, 0x24d0),
        // The mathematical alphabets: 26 capitals and 26 small letters each, one after the other.
        '\u{1d400}'..='\u{1d6a3}' => char::from(b'a' + u8::try_from((letter as u32 - 0x1d400) % 26).ok()?),
        _ => return None,
    };
    Some(plain)
}

fn alphabet(letter: char, first: u32) -> Option<char> {
    Some(char::from(b'a' + u8::try_from(letter as u32 - first).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        fold(text).0.join(" ")
    }

    #[test]
    fn disguised_words_are_read() {
        assert_eq!(words("Ｉｇｎｏｒｅ 𝐭𝐡𝐞 rules"), "ignore the rules");
        assert_eq!(words("1gn0re th3 rule5"), "ignore the rules");
        assert_eq!(words("i g n o r e this"), "ignore this");
        let (read, disguise) = fold("ig\u{200b}nore thе rules");
        assert_eq!(read.join(" "), "ignore the rules");
        assert_eq!(
            disguise,
            Disguise {
                invisible: 1,
                mixed: 1,
                ..Disguise::default()
            }
        );
    }

    #[test]
    fn foreign_words_and_emoji_are_no_disguise() {
        let (_, disguise) = fold("Привет, как дела? 👩\u{200d}💻 naïve café");
        assert_eq!(disguise, Disguise::default());
    }

    #[test]
    fn tag_letters_are_read() {
        let hidden: String = "ignore"
            .chars()
            .map(|c| char::from_u32(c as u32 + 0xe0000).unwrap_or(c))
            .collect();
        let (read, disguise) = fold(&hidden);
        assert_eq!(read, ["ignore"]);
        assert_eq!(disguise.tags, 6);
    }
}
