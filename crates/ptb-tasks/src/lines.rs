//! JSON Lines from outside: numbered from 1, bounded, tolerant of CRLF, a byte-order mark and empty lines,
//! strict about everything else.

use std::io::{self, BufRead, Read};

use serde_json::{Map, Value};

/// Longest line that is read, in bytes: a completion of 50 MB, every character of it written as an escape.
pub(crate) const LONGEST_LINE: usize = 320 << 20;

/// Fields that can hold a record's id, the first present one wins; without any the 1-based line number is it.
const ID_FIELDS: [&str; 5] = ["id", "task_id", "prompt_id", "uid", "question_id"];

/// A line that is not a JSON object, with its number.
#[derive(Debug)]
pub(crate) enum LineFault {
    /// The reader failed.
    Io(io::Error),
    /// What is wrong with which line.
    Bad(usize, String),
}

/// Hands every record with its 1-based line number to `each`; empty lines keep their number.
pub(crate) fn for_each_record(
    mut reader: impl BufRead,
    longest: usize,
    mut each: impl FnMut(usize, Map<String, Value>) -> Result<(), String>,
) -> Result<(), LineFault> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let bound = longest as u64 + 1;
        if reader.by_ref().take(bound).read_until(b'\n', &mut line).map_err(LineFault::Io)? == 0 {
            break;
        }
        if line.len() > longest {
            return Err(LineFault::Bad(number, format!("the line is longer than {longest} bytes")));
        }
        // Without its end: what breaks off there is told as such, not as a line break within a text.
        let bytes = line.strip_suffix(b"\n").unwrap_or(&line);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        let mark = if number == 1 { &b"\xef\xbb\xbf"[..] } else { b"" };
        let bytes = bytes.strip_prefix(mark).unwrap_or(bytes);
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let record = parse(bytes).map_err(|reason| LineFault::Bad(number, reason))?;
        each(number, record).map_err(|reason| LineFault::Bad(number, reason))?;
    }
    Ok(())
}

fn parse(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    let text = str::from_utf8(bytes).map_err(|_| "the line is not UTF-8 text".to_owned())?;
    match serde_json::from_str(text) {
        Ok(Value::Object(record)) => Ok(record),
        Ok(other) => Err(format!("the line holds {}, not an object", kind(&other))),
        Err(e) => {
            // The parser counts lines of its own input, of which there is one here.
            let reason = e.to_string();
            let reason = reason.split(" at line ").next().unwrap_or(&reason);
            let reason = match reason.strip_prefix("EOF while parsing ") {
                Some("a string") => "it ends in the middle of a text".to_owned(),
                Some(what) => format!("it ends in the middle of {what}"),
                None => reason.to_owned(),
            };
            Err(format!("the line is not JSON: {reason} (column {})", e.column()))
        }
    }
}

/// A record's id: its own, or its line number.
pub(crate) fn record_id(record: &Map<String, Value>, line: usize) -> Result<String, String> {
    let own =
        ID_FIELDS.iter().find_map(|f| record.get(*f).filter(|v| !v.is_null()).map(|v| (*f, v)));
    match own {
        None => Ok(line.to_string()),
        Some((field, value)) => scalar_text(field, value),
    }
}

/// A string, or an integer as a string.
pub(crate) fn scalar_text(field: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(s) => Ok(s.clone()),
        Value::Number(n) => Ok(n.to_string()),
        other => {
            Err(format!("the field `{field}` holds {}, not a string or a number", kind(other)))
        }
    }
}

/// What a JSON value is, for messages.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8], longest: usize) -> Result<Vec<(usize, String)>, String> {
        let mut out = Vec::new();
        let read = for_each_record(bytes, longest, |n, record| {
            out.push((n, record_id(&record, n)?));
            Ok(())
        });
        match read {
            Ok(()) => Ok(out),
            Err(LineFault::Bad(n, reason)) => Err(format!("{n}: {reason}")),
            Err(LineFault::Io(e)) => Err(e.to_string()),
        }
    }

    #[test]
    fn a_mark_line_ends_and_empty_lines_are_no_matter() {
        let text = b"\xef\xbb\xbf{}\r\n\r\n{\"task_id\":\"T/1\"}\n{\"id\":7}";
        let expected = [(1, "1".to_owned()), (3, "T/1".to_owned()), (4, "7".to_owned())];
        assert_eq!(read(text, 100).unwrap(), expected);
    }

    #[test]
    fn bad_lines_are_named() {
        let cases: [(&[u8], &str); 11] = [
            (b"{}\n{\"a\":}\n", "2: the line is not JSON: expected value (column 6)"),
            (b"{}\n\n[1]\n", "3: the line holds a list, not an object"),
            (b"{}\n\xff\n", "2: the line is not UTF-8 text"),
            (b"{\"a\":\"aaaaaaaaaaaaaaaaaaaaaaaaa\"}", "1: the line is longer than 30 bytes"),
            (b"{} {}", "1: the line is not JSON: trailing characters (column 4)"),
            (b"{\"id\":{}}", "1: the field `id` holds an object, not a string or a number"),
            (b"{}\n\xef\xbb\xbf{}", "2: the line is not JSON: expected value (column 1)"),
            (b"{\"a\":1", "1: the line is not JSON: it ends in the middle of an object (column 6)"),
            (
                b"{\"a\":\"b\n{}",
                "1: the line is not JSON: it ends in the middle of a text (column 7)",
            ),
            (
                b"{}\n{\"a\":\"b\r\n",
                "2: the line is not JSON: it ends in the middle of a text (column 7)",
            ),
            (
                b"{\"a\":\"b\tc\"}",
                "1: the line is not JSON: control character (\\u0000-\\u001F) found while parsing a string (column 8)",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text, 30).unwrap_err(), expected);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_records_or_a_named_line(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let lines = bytes.split(|b| *b == b'\n').count();
            match read(&bytes, 64) {
                Ok(records) => prop_assert!(records.len() <= lines),
                Err(e) => prop_assert!(e.split(':').next().unwrap().parse::<usize>().unwrap() <= lines),
            }
        }
    }
}
