//! What a file is, by its first bytes.

use std::io::{Cursor, Read};

/// Bytes that are looked at.
const HEAD: u64 = 64 << 10;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Gzip,
    Zstd,
    Zip,
    Tar,
    Parquet,
    Arrow(ArrowForm),
    Weights,
    /// A packing that is not undone.
    Closed(&'static str),
    Text(Text),
}

/// The two layouts of Arrow's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ArrowForm {
    File,
    Stream,
}

/// How a text is cut into documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    /// A JSON value on each line.
    JsonLines,
    /// A JSON list, an element after the other.
    JsonList,
    /// Some other JSON.
    Json,
    Notebook,
    /// Records of fields, the separator given.
    Table(u8),
    /// The source of a program.
    Source,
    Prose,
}

/// The first bytes, and a reader of all.
pub(super) fn head(mut source: Box<dyn Read>) -> std::io::Result<(Vec<u8>, Box<dyn Read>)> {
    let mut head = Vec::new();
    source.by_ref().take(HEAD).read_to_end(&mut head)?;
    let all: Box<dyn Read> = Box::new(Cursor::new(head.clone()).chain(source));
    Ok((head, all))
}

const MAGIC: [(&[u8], What); 9] = [
    (b"\x1f\x8b", What::Gzip),
    (b"\x28\xb5\x2f\xfd", What::Zstd),
    (b"PK\x03\x04", What::Zip),
    (b"PAR1", What::Parquet),
    (b"ARROW1\0\0", What::Arrow(ArrowForm::File)),
    (b"\xfd7zXZ\0", What::Closed("xz")),
    (b"BZh", What::Closed("bzip2")),
    (b"7z\xbc\xaf\x27\x1c", What::Closed("7-zip")),
    (b"GGUF", What::Weights),
];

pub(super) fn what(head: &[u8]) -> What {
    if let Some((_, what)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) {
        return *what;
    }
    if head.get(257..262) == Some(b"ustar") {
        return What::Tar;
    }
    if is_safetensors(head) {
        return What::Weights;
    }
    if is_arrow_stream(head) {
        return What::Arrow(ArrowForm::Stream);
    }
    What::Text(text(head))
}

/// A length, then an object with tensors.
fn is_safetensors(head: &[u8]) -> bool {
    let length = head.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
    (2..100 << 20).contains(&length)
        && head.get(8) == Some(&b'{')
        && memchr::memmem::find(head, b"\"data_offsets\"").is_some()
}

/// A continuation mark, the length of a message, and a table's offset: Arrow's stream format.
fn is_arrow_stream(head: &[u8]) -> bool {
    let length = head.get(4..8).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b));
    head.starts_with(&[0xff; 4]) && (16..1 << 24).contains(&length) && length % 8 == 0
}

fn text(head: &[u8]) -> Text {
    let body = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let mut lines = body.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
    let (first, second) = (lines.next().unwrap_or_default(), lines.find(|l| !l.is_empty()));
    let begins = |line: &[u8], with: &[u8]| line.first().is_some_and(|b| with.contains(b));
    let whole_line = matches!(
        (first.first(), first.last()),
        (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']')) | (Some(b'"'), Some(b'"'))
    );
    if whole_line && first.len() > 1 && second.is_some_and(|l| begins(l, b"{[\"")) {
        return Text::JsonLines;
    }
    match body.first() {
        Some(b'[') if begins(body[1..].trim_ascii_start(), b"{[\"") => return Text::JsonList,
        Some(b'{') => {
            let has = |word: &[u8]| memchr::memmem::find(body, word).is_some();
            if has(b"\"cells\"") && (has(b"\"cell_type\"") || has(b"\"nbformat\"")) {
                return Text::Notebook;
            }
            // One long line, or several of an object: the former may be the first of many.
            let json = begins(body[1..].trim_ascii_start(), b"\"}");
            return match json {
                true if first.len() >= body.len().min(HEAD as usize - 3) || whole_line => {
                    Text::JsonLines
                }
                true => Text::Json,
                false => Text::Prose,
            };
        }
        _ => {}
    }
    if let Some(separator) = separator(body) {
        return Text::Table(separator);
    }
    let is_code = |line: &[u8]| {
        [&b"import "[..], b"from ", b"def ", b"class ", b"#!/"].iter().any(|w| line.starts_with(w))
    };
    match body.split(|b| *b == b'\n').any(is_code) {
        true => Text::Source,
        false => Text::Prose,
    }
}

/// The separator of a table: a head of short names, and as many fields in the next records.
fn separator(body: &[u8]) -> Option<u8> {
    [b',', b'\t', b';'].into_iter().find(|separator| {
        let mut counts = Vec::new();
        let (mut fields, mut quoted, mut start) = (1, false, 0);
        for (at, byte) in body.iter().enumerate() {
            match byte {
                b'"' => quoted = !quoted,
                b'\n' if !quoted => {
                    let head = &body[start..at];
                    if counts.is_empty()
                        && (head.len() > 64 * fields
                            || head.contains(&b'.') && head.contains(&b' '))
                    {
                        return false;
                    }
                    counts.push(fields);
                    (fields, start) = (1, at + 1);
                }
                b if b == separator && !quoted => fields += 1,
                _ => {}
            }
            if counts.len() == 4 {
                break;
            }
        }
        // The last record may have no line end.
        if counts.len() < 4 && start < body.len() && !quoted && (body.len() as u64) < HEAD {
            counts.push(fields);
        }
        counts.len() >= 2 && counts[0] >= 2 && counts.iter().all(|n| *n == counts[0])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_tells_what_a_file_is() {
        let cases: [(&[u8], What); 17] = [
            (b"{\"a\": 1}\n{\"a\": 2}\n", What::Text(Text::JsonLines)),
            (b"{\"a\": 1}\n", What::Text(Text::JsonLines)),
            (b"\"one\"\n\"two\"\n", What::Text(Text::JsonLines)),
            (b"[1, 2]\n[3, 4]\n", What::Text(Text::JsonLines)),
            (b"[\n {\"a\": 1},\n {\"a\": 2}]", What::Text(Text::JsonList)),
            (b"[{\"a\": 1}, {\"a\": 2}]", What::Text(Text::JsonList)),
            (b"{\n \"a\": [1,\n 2]}", What::Text(Text::Json)),
            (b"{\"cells\": [{\"cell_type\": \"code\"}]}", What::Text(Text::Notebook)),
            (b"question,answer\n\"a, b\nc\",2\nd,3\n", What::Text(Text::Table(b','))),
            (b"q\ta\nx\ty\n", What::Text(Text::Table(b'\t'))),
            (
                b"Well, this is prose. It goes on, and on.\nAnd so, it does.\n",
                What::Text(Text::Prose),
            ),
            (b"# a title\nimport os\nx = 1\n", What::Text(Text::Source)),
            (b"", What::Text(Text::Prose)),
            (b"\x1f\x8b\x08", What::Gzip),
            (b"PAR1", What::Parquet),
            (b"BZh9", What::Closed("bzip2")),
            (b"\xff\xff\xff\xff\xf8\0\0\0", What::Arrow(ArrowForm::Stream)),
        ];
        for (head, expected) in cases {
            assert_eq!(what(head), expected, "{}", String::from_utf8_lossy(head));
        }
    }
}
