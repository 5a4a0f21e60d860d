//! The strings of a JSON text, decoded and set below each other.

/// Every string, a blank line after each; what is no string is left out. Wrong escapes are kept as they stand.
pub(super) fn strings(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(open) = memchr::memchr(b'"', &text[at..]) {
        at += open + 1;
        at = string(text, at, &mut out);
        out.extend(b"\n\n");
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Decodes one string; gives the place behind its closing quote.
fn string(text: &[u8], mut at: usize, out: &mut Vec<u8>) -> usize {
    while let Some(stop) = memchr::memchr2(b'"', b'\\', &text[at..]) {
        out.extend(&text[at..at + stop]);
        at += stop;
        if text[at] == b'"' {
            return at + 1;
        }
        let plain = match text.get(at + 1) {
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'r') => b'\r',
            Some(c @ (b'"' | b'\\' | b'/')) => *c,
            Some(b'u') => {
                let code = text.get(at + 2..at + 6).and_then(|h| std::str::from_utf8(h).ok());
                let code = code.and_then(|h| u32::from_str_radix(h, 16).ok());
                let c = code.and_then(char::from_u32).unwrap_or(' ');
                out.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
                at = (at + 6).min(text.len());
                continue;
            }
            _ => b'\\',
        };
        out.push(plain);
        at = (at + 2).min(text.len());
    }
    out.extend(&text[at..]);
    text.len()
}

#[cfg(test)]
mod tests {
    use super::strings;

    #[test]
    fn strings_are_decoded() {
        assert_eq!(strings(br#"{"a\n": "x\"\u00e9\\"}"#), "a\n\n\nx\"é\\\n\n");
        assert_eq!(strings(br#""open \"#), "open \\\n\n");
    }
}
