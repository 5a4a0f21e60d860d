//! Printing what came from elsewhere so that a terminal shows it and obeys none of it.

use std::io::{self, Write};

use crate::{FAILED, Failure};

/// A line on standard error. Errors are of no use to anybody here.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", printable(text));
}

/// Text on standard output, as it is.
pub(crate) fn out(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(FAILED, format!("cannot write to standard output: {e}"), ""))
        }
        _ => Ok(()),
    }
}

/// Controls, and the invisible characters that reorder or hide text, are written as escapes.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let hidden = matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        );
        if c.is_control() || hidden { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

/// JSON in ASCII alone: what is not, is escaped as JSON has it, which means the same to any reader.
pub(crate) fn ascii_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() && c != '\u{7f}' {
            out.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_told_nothing() {
        let evil = "\u{1b}]0;owned\u{7}\r\u{9b}31m\u{202e}é\u{7f}";
        let shown = printable(evil);
        assert!(shown.chars().all(|c| !c.is_control()) && shown.contains('é'), "{shown}");
        let json = serde_json::to_string(&format!("{evil}\u{1f600}")).unwrap();
        let safe = ascii_json(&json);
        assert!(safe.bytes().all(|b| (0x20..0x7f).contains(&b)), "{safe}");
        assert_eq!(
            serde_json::from_str::<String>(&safe).unwrap(),
            serde_json::from_str::<String>(&json).unwrap()
        );
    }
}
