//! Python as a row of symbols, without names, comments, docstrings and signatures.
//!
//! A lexer of our own: programs stand in prose, in fences, cut in half, and nested as deep as their writer liked, where a
//! parser gives up or recurses.

use super::index::pair;

/// A symbol of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Symbol {
    /// What it is; of a name that may be renamed, the name's own hash.
    pub(super) hash: u64,
    pub(super) name: bool,
    /// Byte at which it begins.
    pub(super) at: u32,
}

/// A function's body, or what stands outside of functions.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub(super) symbols: Vec<Symbol>,
    /// Whether it stood below a `def`, and what that was called.
    pub(super) of_function: bool,
    pub(super) called: u64,
}

impl Body {
    /// The whole function, its names included.
    pub(super) fn whole(&self) -> u64 {
        self.symbols.iter().fold(self.called, |h, s| pair(h, s.hash))
    }
}

/// Names that mean the same everywhere: keywords, built-in functions and types.
const KNOWN: &str = " and as assert async await break class continue del elif else except finally for from global if \
    import in is lambda None nonlocal not or pass raise return True False try while with yield abs all any bool bytes \
    chr dict divmod enumerate filter float format frozenset hash hex input int isinstance iter len list map max min \
    next object oct open ord pow print range repr reversed round set sorted str sum super tuple type zip ValueError \
    Exception KeyError IndexError math re self collections Counter defaultdict itertools functools reduce ";

fn is_known(name: &str) -> bool {
    KNOWN.contains(&format!(" {name} "))
}

/// Splits a program into bodies of symbols.
pub(super) fn bodies(source: &str) -> Vec<Body> {
    let mut lexer = Lexer::new(source);
    while lexer.step().is_some() {}
    lexer.bodies.retain(|b| !b.symbols.is_empty());
    lexer.bodies
}

/// A program without its comments and docstrings.
pub(super) fn without_prose(source: &str) -> String {
    let mut lexer = Lexer::new(source);
    while lexer.step().is_some() {}
    let mut kept = source.as_bytes().to_vec();
    for (from, to) in lexer.prose {
        kept[from..to].fill(b' ');
    }
    String::from_utf8_lossy(&kept).into_owned()
}

struct Lexer<'s> {
    source: &'s [u8],
    at: usize,
    /// Nothing but space stands before, on this line.
    line_begins: bool,
    bodies: Vec<Body>,
    /// Where comments and docstrings are.
    prose: Vec<(usize, usize)>,
}

impl<'s> Lexer<'s> {
    fn new(source: &'s str) -> Self {
        let (bodies, prose) = (vec![Body::default()], Vec::new());
        Self { source: source.as_bytes(), at: 0, line_begins: true, bodies, prose }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.source.get(self.at + ahead).copied()
    }

    fn step(&mut self) -> Option<()> {
        let byte = self.peek(0)?;
        match byte {
            b'\n' => {
                self.line_begins = true;
                self.at += 1;
            }
            b' ' | b'\t' | b'\r' | b'\\' => self.at += 1,
            b'#' => self.comment(),
            b'"' | b'\'' => self.string(),
            b'0'..=b'9' => self.number(),
            _ if byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80 => self.name(),
            _ => {
                self.push(byte as u64, false, self.at);
                self.at += 1;
            }
        }
        Some(())
    }

    fn push(&mut self, hash: u64, name: bool, at: usize) {
        self.line_begins = false;
        if let Some(body) = self.bodies.last_mut() {
            body.symbols.push(Symbol { hash, name, at: at as u32 });
        }
    }

    fn comment(&mut self) {
        let (start, rest) = (self.at, &self.source[self.at..]);
        self.at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        self.prose.push((start, self.at));
    }

    fn string(&mut self) {
        let (start, quote) = (self.at, self.source[self.at]);
        let triple = self.peek(1) == Some(quote) && self.peek(2) == Some(quote);
        self.at += if triple { 3 } else { 1 };
        let inner = self.at;
        while let Some(byte) = self.peek(0) {
            let closes = byte == quote
                && (!triple || (self.peek(1) == Some(quote) && self.peek(2) == Some(quote)));
            if closes || (!triple && byte == b'\n') {
                break;
            }
            self.at += if byte == b'\\' { 2 } else { 1 };
        }
        let end = self.at.min(self.source.len());
        self.at = (end + if triple { 3 } else { 1 }).min(self.source.len());
        // A string that is a statement of its own says nothing to Python.
        if self.line_begins {
            self.prose.push((start, self.at));
        } else {
            let hash = hash(&self.source[inner.min(end)..end]).rotate_left(1);
            self.push(hash, false, start);
        }
        self.line_begins = false;
    }

    fn number(&mut self) {
        let start = self.at;
        while self.peek(0).is_some_and(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'_') {
            self.at += 1;
        }
        self.push(hash(&self.source[start..self.at]), false, start);
    }

    fn name(&mut self) {
        let start = self.at;
        while self.peek(0).is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80) {
            self.at += 1;
        }
        let name = &self.source[start..self.at];
        let text = std::str::from_utf8(name).unwrap_or("");
        // The letters before a string's quote.
        let prefix = name.len() <= 2 && text.chars().all(|c| "rRbBfFuU".contains(c));
        if prefix && matches!(self.peek(0), Some(b'"' | b'\'')) {
            return;
        }
        if text == "def" && self.line_begins {
            return self.signature();
        }
        let attribute = self
            .bodies
            .last()
            .and_then(|b| b.symbols.last())
            .is_some_and(|s| s.hash == b'.' as u64);
        self.push(hash(name), !(attribute || is_known(text)), start);
    }

    /// A signature ends with the colon outside of all brackets; what follows is another body.
    fn signature(&mut self) {
        let (mut depth, limit) = (0usize, self.at + 2000);
        let rest = &self.source[self.at..];
        let open = rest.iter().take(200).position(|b| *b == b'(').unwrap_or(0);
        let called = hash(rest[..open].trim_ascii());
        while let Some(byte) = self.peek(0) {
            self.at += 1;
            match byte {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                b':' if depth == 0 => break,
                b'\n' if depth == 0 => break,
                _ if self.at > limit => break,
                _ => {}
            }
        }
        self.line_begins = true;
        self.bodies.push(Body { symbols: Vec::new(), of_function: true, called });
    }
}

fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(bytes.len() as u64 + 1000, |h, b| pair(h, *b as u64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds(source: &str) -> Vec<Vec<(u64, bool)>> {
        let known = |s: &Symbol| (if s.name { 0 } else { s.hash }, s.name);
        bodies(source).iter().map(|b| b.symbols.iter().map(known).collect()).collect()
    }

    #[test]
    fn names_docstrings_comments_and_layout_do_not_count() {
        let one = "def below(numbers: List[int], t: int) -> bool:\n    \"\"\"Doc: of it.\"\"\"\n    for e in numbers:\n        if e >= t:  # too much\n            return False\n    return True\n";
        let other = "def f(a, b):\n  '''Another.'''\n  for x in a:\n\n    if x >= b: return False\n  return True";
        assert_eq!(kinds(one), kinds(other));
        assert_ne!(kinds(one), kinds(&other.replace(">=", "<=")));
        assert_ne!(kinds(one), kinds(&other.replace("False", "b.pop()")));
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC{0,200}", start in "[\"'#\\\\\\n(:d ef]{0,40}") {
            for body in bodies(&format!("{start}{text}")) {
                prop_assert!(!body.symbols.is_empty());
            }
        }
    }
}
