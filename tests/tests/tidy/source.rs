//! A Rust file as the rules see it: without comments and literals.
//!
//! This is not a parser: it knows just enough of the grammar to tell code from text.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A Rust file as two texts with the same lines: its code without comments and without what
/// literals contain, and its comments alone.
pub struct Source {
    pub code: String,
    pub comments: String,
}

#[derive(PartialEq)]
enum Kind {
    Code,
    Literal,
    Comment,
}

impl Source {
    pub fn parse(text: &str) -> Source {
        let (mut code, mut comments) = (String::new(), String::new());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let (length, kind) = token(rest, first);
            let (piece, tail) = rest.split_at(length);
            let blank: String = piece.chars().filter(|&c| c == '\n').collect();
            match kind {
                Kind::Code => code.push_str(piece),
                Kind::Literal => write!(code, "\"{blank}\"").unwrap(),
                Kind::Comment => code.push_str(&blank),
            }
            comments.push_str(if kind == Kind::Comment { piece } else { &blank });
            rest = tail;
        }
        Source { code, comments }
    }

    /// The lines of code that only tests see.
    pub fn test_lines(&self) -> BTreeSet<usize> {
        let mut lines = BTreeSet::new();
        for marker in ["#[cfg(test)]", "#[cfg(all(test", "#[test]"] {
            for (start, _) in self.code.match_indices(marker) {
                lines.extend(self.line(start)..=self.line(block_end(&self.code, start)));
            }
        }
        lines
    }

    pub fn line(&self, position: usize) -> usize {
        self.code[..position].matches('\n').count() + 1
    }
}

/// The length and kind of the token that `rest` begins with.
fn token(rest: &str, first: char) -> (usize, Kind) {
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), Kind::Comment);
    }
    if rest.starts_with("/*") {
        return (rest.find("*/").map_or(rest.len(), |end| end + 2), Kind::Comment);
    }
    if let Some(length) = raw_string(rest) {
        return (length, Kind::Literal);
    }
    match first {
        '"' => (quoted(rest, '"'), Kind::Literal),
        // A lifetime has no closing quote behind its first character.
        '\'' if rest.starts_with("'\\") || rest.chars().nth(2) == Some('\'') => {
            (quoted(rest, '\''), Kind::Literal)
        }
        c if is_word(c) => (rest.find(|c| !is_word(c)).unwrap_or(rest.len()), Kind::Code),
        c => (c.len_utf8(), Kind::Code),
    }
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn raw_string(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    body[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let start = rest.len() - body.len() + hashes + 1;
    Some(rest[start..].find(&close).map_or(rest.len(), |end| start + end + close.len()))
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (i, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return i + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Where the item that begins at `start` ends: at its block's closing brace, or at its semicolon.
pub fn block_end(code: &str, start: usize) -> usize {
    let (mut braces, mut brackets) = (0_usize, 0_usize);
    for (i, c) in code[start..].char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            '{' => braces += 1,
            '}' if braces <= 1 => return start + i,
            '}' => braces -= 1,
            ';' if braces == 0 && brackets == 0 => return start + i,
            _ => {}
        }
    }
    code.len()
}

/// Positions of `word` in `code` that are not part of a longer word.
pub fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}
