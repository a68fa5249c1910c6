//! Paths: how a mapping names a value of a record.

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    Key(String),
    Index(u32),
    Each,
    /// The array's elements whose member `.0` is the text `.1`.
    Where(String, String),
    /// Not in the record: what its carrier said beside it.
    Carrier(String),
}

/// Reads a path; the error says what is wrong with it.
pub fn parse_path(text: &str) -> Result<Vec<Step>, String> {
    let wrong = |what: &str| {
        Err(format!(
            "`{text}` is no path: {what}; valid are for example a.b, a[0].b, a[*].b, a[name=x].b, 'a.b'.c, <kafka.header.x>"
        ))
    };
    if let Some(rest) = text.strip_prefix('<') {
        return match rest.strip_suffix('>') {
            Some(name) if !name.is_empty() => Ok(vec![Step::Carrier(name.to_owned())]),
            _ => wrong("`<` begins the name of a carrier's attribute, which must end in `>`"),
        };
    }
    let mut steps = Vec::new();
    let mut rest = text;
    loop {
        if let Some(quoted) = rest.strip_prefix('\'') {
            let Some((key, after)) = quoted.split_once('\'') else {
                return wrong("a quote is open");
            };
            steps.push(Step::Key(key.to_owned()));
            rest = after;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            if end == 0 {
                return wrong("a key is empty");
            }
            steps.push(Step::Key(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        while let Some(inside) = rest.strip_prefix('[') {
            let Some((index, after)) = inside.split_once(']') else {
                return wrong("a bracket is open");
            };
            steps.push(match (index.parse(), index.split_once('=')) {
                (Ok(index), _) => Step::Index(index),
                (_, _) if index == "*" => Step::Each,
                (_, Some((member, value))) if !member.is_empty() => Step::Where(member.to_owned(), value.to_owned()),
                _ => return wrong("in brackets stands no number, no * and no member=text"),
            });
            rest = after;
        }
        match rest.strip_prefix('.') {
            Some(after) => rest = after,
            None if rest.is_empty() => return Ok(steps),
            None => return wrong("a dot is missing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let key = |text: &str| Step::Key(text.to_owned());
        assert_eq!(
            parse_path("a.b[0].c").ok(),
            Some(vec![key("a"), key("b"), Step::Index(0), key("c")])
        );
        assert_eq!(
            parse_path("'user.name'[*]").ok(),
            Some(vec![key("user.name"), Step::Each])
        );
        assert_eq!(
            parse_path("a[key=x.y].v").ok(),
            Some(vec![key("a"), Step::Where("key".into(), "x.y".into()), key("v")])
        );
        assert_eq!(
            parse_path("<kafka.header.x>").ok(),
            Some(vec![Step::Carrier("kafka.header.x".into())])
        );
        for wrong in ["", "a..b", "a[", "a[x]", ".a", "'a", "a[0]b", "a[=x]", "<a", "<>"] {
            assert!(parse_path(wrong).is_err(), "{wrong}");
        }
    }
}
