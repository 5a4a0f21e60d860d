//! The forms that programs give a text: as it is, escaped in JSON (once, and JSON within JSON), percent-encoded, in
//! hexadecimal digits, in base64.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// All forms of a secret, each once.
pub(super) fn of(secret: &str) -> BTreeSet<Vec<u8>> {
    let mut texts = BTreeSet::from([secret.to_owned()]);
    for _ in 0..2 {
        let escaped: Vec<String> = texts.iter().flat_map(|text| json(text)).collect();
        texts.extend(escaped);
    }
    texts.extend(percent(secret));
    texts.extend([hex(secret, false), hex(secret, true)]);
    let bases: Vec<String> =
        base64(secret).chain(json(secret).iter().flat_map(|t| base64(t))).collect();
    // Base64 has characters of its own that JSON and addresses escape.
    texts.extend(bases.iter().flat_map(|base| json(base)));
    texts.extend(bases.iter().flat_map(|base| percent(base)));
    texts.extend(bases);
    texts.into_iter().map(String::into_bytes).collect()
}

/// How writers of JSON escape a text: what must be; slashes too (PHP); what is dangerous in HTML too (Go); all that is
/// not ASCII too (Python), with digits of either case.
fn json(text: &str) -> Vec<String> {
    let escape = |special: &dyn Fn(char) -> Option<String>| -> String {
        text.chars().map(|c| special(c).or_else(|| must(c)).unwrap_or_else(|| c.into())).collect()
    };
    let slash = |c: char| (c == '/').then(|| "\\/".to_owned());
    let html = |c: char| "<>&+='".contains(c).then(|| unicode(c, false));
    let ascii = |c: char| (!c.is_ascii()).then(|| unicode(c, false));
    let ascii_upper = |c: char| (!c.is_ascii()).then(|| unicode(c, true));
    let go = |c: char| "<>&".contains(c).then(|| unicode(c, false));
    vec![
        escape(&|_| None),
        escape(&slash),
        escape(&go),
        escape(&html),
        escape(&ascii),
        escape(&ascii_upper),
    ]
}

/// What every writer of JSON escapes.
fn must(c: char) -> Option<String> {
    Some(match c {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '\u{8}' => "\\b".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        c if c < ' ' => unicode(c, false),
        _ => return None,
    })
}

/// A character as `\uXXXX`, two of them where it has a surrogate pair.
fn unicode(c: char, upper: bool) -> String {
    let mut units = [0; 2];
    let mut text = String::new();
    for unit in c.encode_utf16(&mut units) {
        let _ = if upper { write!(text, "\\u{unit:04X}") } else { write!(text, "\\u{unit:04x}") };
    }
    text
}

/// A text in an address: characters that are always kept (RFC 3986), those that JavaScript keeps too, and a form's
/// `+` for a blank; with digits of either case.
fn percent(text: &str) -> Vec<String> {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    let in_script = |b: u8| unreserved(b) || b"!'()*".contains(&b);
    let in_form = |b: u8| (b.is_ascii_alphanumeric() || b"-_.*".contains(&b)) || b == b' ';
    let in_path = |b: u8| unreserved(b) || b == b'/';
    let encode = |keep: &dyn Fn(u8) -> bool, upper: bool| {
        let mut encoded = String::new();
        for b in text.bytes() {
            let _ = match (keep(b), upper) {
                (true, _) if b == b' ' => write!(encoded, "+"),
                (true, _) => write!(encoded, "{}", char::from(b)),
                (false, true) => write!(encoded, "%{b:02X}"),
                (false, false) => write!(encoded, "%{b:02x}"),
            };
        }
        encoded
    };
    let keeps: [&dyn Fn(u8) -> bool; 4] = [&unreserved, &in_script, &in_form, &in_path];
    keeps.into_iter().flat_map(|keep| [encode(keep, true), encode(keep, false)]).collect()
}

fn hex(text: &str, upper: bool) -> String {
    text.bytes().map(|b| if upper { format!("{b:02X}") } else { format!("{b:02x}") }).collect()
}

/// A text inside a longer one that is encoded: three bytes make four characters, so there are three ways for it to
/// lie, and in each the characters that hold nothing of its neighbours are always the same.
fn base64(text: &str) -> impl Iterator<Item = String> {
    let inside = |before: usize, encode: &dyn Fn(&[u8]) -> String| {
        let bytes = [&b"\0\0"[..before], text.as_bytes()].concat();
        // Each character holds six bits.
        let (first, last) = ((8 * before).div_ceil(6), 8 * bytes.len() / 6);
        encode(&bytes).get(first..last).unwrap_or_default().to_owned()
    };
    let ways: Vec<String> = (0..3)
        .flat_map(|before| {
            let standard = inside(before, &|bytes| STANDARD_NO_PAD.encode(bytes));
            let in_address = inside(before, &|bytes| URL_SAFE_NO_PAD.encode(bytes));
            [standard, in_address]
        })
        .collect();
    ways.into_iter()
}
