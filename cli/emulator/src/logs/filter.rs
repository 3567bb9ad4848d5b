//! Patterns of terms, for searching log events.

/// Matches messages with all terms of `needed`, at least one of `any` unless that is empty, and none of `barred`.
#[derive(Debug, Default)]
pub(super) struct Filter {
    needed: Vec<String>,
    any: Vec<String>,
    barred: Vec<String>,
}

impl Filter {
    /// Parses a pattern such as `error "exact phrase" -without ?either ?or`. Patterns for JSON or for columns and
    /// regular expressions are refused.
    pub(super) fn parse(pattern: &str) -> Result<Self, String> {
        let mut rest = pattern.trim();
        if rest.starts_with(['{', '[', '%']) {
            return Err(format!("the emulator supports only patterns of terms, not `{pattern}`"));
        }
        let mut filter = Self::default();
        while !rest.is_empty() {
            let terms = match rest.as_bytes()[0] {
                b'-' => &mut filter.barred,
                b'?' => &mut filter.any,
                _ => &mut filter.needed,
            };
            let (term, left) = term(rest.trim_start_matches(['-', '?']))?;
            terms.push(term);
            rest = left.trim_start();
        }
        Ok(filter)
    }

    pub(super) fn takes(&self, message: &str) -> bool {
        let has = |term: &String| message.contains(term.as_str());
        self.needed.iter().all(has) && (self.any.is_empty() || self.any.iter().any(has)) && !self.barred.iter().any(has)
    }
}

/// Returns the first term and the rest of the text.
fn term(text: &str) -> Result<(String, &str), String> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (term, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        if term.is_empty() || !term.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return Err(format!("Invalid filter pattern: `{term}` needs quotes around it"));
        }
        return Ok((term.to_owned(), rest));
    };
    let mut term = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((term, &quoted[at + 1..])),
            '\\' => term.extend(chars.next().map(|(_, c)| c)),
            c => term.push(c),
        }
    }
    Err("Invalid filter pattern: a quote is not closed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_phrases_choices_and_exclusions() {
        let takes = |pattern: &str, message: &str| Filter::parse(pattern).map(|f| f.takes(message));
        assert_eq!(takes("", "anything"), Ok(true));
        assert_eq!(takes("ERROR disk", "disk: ERROR"), Ok(true));
        assert_eq!(takes("ERROR disk", "ERROR"), Ok(false));
        assert_eq!(takes(r#""say \"a b\"""#, r#"I say "a b""#), Ok(true));
        assert_eq!(takes("ERROR -disk", "ERROR disk"), Ok(false));
        assert_eq!(takes("?a ?b", "only b"), Ok(true));
        assert_eq!(takes("?a ?b", "c"), Ok(false));
        for wrong in ["{ $.a = 1 }", "[a, b]", "%x%", "\"open", "a-b"] {
            assert!(Filter::parse(wrong).is_err(), "{wrong}");
        }
    }
}
