//! What a benchmark's program wrote, read as that of a stranger: bounded, no link followed, every number checked.

use std::path::Path;

use ptb_core::files::read_bounded;
use serde_json::{Map, Value};

use super::error::ScriptError;

/// Largest result that is read.
const MAX_BYTES: u64 = 1 << 20;
/// Deepest nesting of a result: it stands inside of other files, whose readers have bounds.
const MAX_DEPTH: usize = 32;
/// Keys under which programs tell the number of samples.
const COUNTS: [&str; 5] = ["n", "samples", "n_samples", "n_examples", "total_samples"];
const FORM: &str =
    "it must write a JSON object with `accuracy`, from 0 to 1, to the file of --json-output-file";

/// A program's result.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Written {
    pub(super) accuracy: f64,
    pub(super) stderr: f64,
    /// 0 where it does not say.
    pub(super) n: usize,
    /// All that it wrote.
    pub(super) whole: Value,
}

fn fault(what: impl Into<String>) -> ScriptError {
    ScriptError::Result { what: what.into(), hint: FORM }
}

/// Reads the file that it was to write. Nothing of the program runs any more.
pub(super) fn read(path: &Path) -> Result<Written, ScriptError> {
    let meta = std::fs::symlink_metadata(path)
        .map_err(|_| fault("ended without an error and wrote no result"))?;
    if !meta.is_file() {
        return Err(fault("left no plain file for its result"));
    }
    if meta.len() > MAX_BYTES {
        let (bytes, most) = (meta.len(), MAX_BYTES);
        return Err(fault(format!("wrote a result of {bytes} bytes, more than {most}")));
    }
    let bytes = read_bounded(path, MAX_BYTES).map_err(ScriptError::place("reading the result"))?;
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Result<Written, ScriptError> {
    if depth(bytes) > MAX_DEPTH {
        return Err(fault(format!("wrote a result nested deeper than {MAX_DEPTH}")));
    }
    let whole: Value = serde_json::from_slice(bytes).map_err(|e| {
        // Python's json writes these words, which are no JSON.
        let text = String::from_utf8_lossy(bytes);
        let words = ["NaN", "Infinity"].into_iter().find(|word| text.contains(word));
        match words {
            Some(word) => fault(format!("wrote {word}, which is no number of JSON ({e})")),
            None => fault(format!("wrote what is no JSON ({e})")),
        }
    })?;
    let object = whole.as_object().ok_or_else(|| fault("wrote JSON that is no object"))?;
    let accuracy = accuracy(object)?;
    let n = COUNTS.iter().find_map(|key| count(object.get(*key)?)).unwrap_or(0);
    let stderr =
        object.get("stderr").and_then(Value::as_f64).filter(|s| s.is_finite() && *s >= 0.0);
    let stderr = stderr.unwrap_or_else(|| widest(accuracy, n));
    Ok(Written { accuracy, stderr, n, whole })
}

/// How deep lists and objects of a text are nested, by its brackets outside of strings.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => depth += 1,
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn accuracy(object: &Map<String, Value>) -> Result<f64, ScriptError> {
    let value = object.get("accuracy").ok_or_else(|| {
        let keys: Vec<String> = object.keys().take(8).map(|k| ptb_infer::tidy(k, 40)).collect();
        fault(format!("wrote no `accuracy`, only: {}", keys.join(", ")))
    })?;
    let shown = || ptb_infer::tidy(&value.to_string(), 60);
    let number =
        value.as_f64().ok_or_else(|| fault(format!("wrote accuracy = {}, no number", shown())))?;
    match (0.0..=1.0).contains(&number) {
        true => Ok(number),
        false => Err(fault(format!("wrote accuracy = {}, which is not from 0 to 1", shown()))),
    }
}

/// A number of samples, or the samples themselves.
fn count(value: &Value) -> Option<usize> {
    let count = value.as_array().map(|list| list.len() as u64).or(value.as_u64())?;
    usize::try_from(count).ok()
}

/// The largest standard error that a mean of `n` independent scores from 0 to 1 can have: all of them 0 or 1.
fn widest(mean: f64, n: usize) -> f64 {
    if n == 0 { 0.0 } else { (mean * (1.0 - mean) / n as f64).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_inspect_and_others_write_is_read() {
        let read = parse(br#"{"accuracy": 0.25, "stderr": 0.1, "by_theme": {"a": 1}}"#).unwrap();
        assert_eq!((read.accuracy, read.stderr, read.n), (0.25, 0.1, 0));
        assert_eq!(read.whole["by_theme"]["a"], 1);
        let read = parse(br#"{"accuracy": 0.5, "n_examples": 25}"#).unwrap();
        assert_eq!((read.stderr, read.n), (0.1, 25));
        assert_eq!(parse(br#"{"accuracy": 1, "samples": [1, 2]}"#).unwrap().n, 2);
        assert_eq!(parse(br#"{"accuracy": 0, "stderr": null, "n": -1}"#).unwrap().stderr, 0.0);
    }

    #[test]
    fn every_fault_has_its_own_words() {
        for (text, part) in [
            (r#"{"accuracy": NaN}"#, "wrote NaN, which is no number"),
            (r#"{"accuracy": 0.5, "stderr": -Infinity}"#, "wrote Infinity"),
            ("{\"accuracy\": 0.", "no JSON"),
            ("", "no JSON"),
            ("[0.5]", "no object"),
            (r#"{"final_acc": 0.5}"#, "no `accuracy`, only: final_acc"),
            (r#"{"accuracy": "0.5"}"#, "accuracy = \"0.5\", no number"),
            (r#"{"accuracy": 50}"#, "accuracy = 50, which is not from 0 to 1"),
            (r#"{"accuracy": -0.1}"#, "not from 0 to 1"),
        ] {
            let told = told(text);
            assert!(told.contains(part) && told.contains("hint: "), "{text}: {told}");
        }
    }

    #[test]
    fn what_is_nested_too_deep_is_told() {
        let nested = |depth: usize| {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            format!(r#"{{"accuracy": 1, "text": "[[\"[[{{", "x": {open}{close}}}"#)
        };
        assert!(parse(nested(31).as_bytes()).is_ok());
        for depth in [32, 127, 100_000] {
            assert!(told(&nested(depth)).contains("nested deeper than 32"), "{depth}");
        }
    }

    #[test]
    fn only_a_plain_file_of_some_size_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.json");
        let told = || read(&path).unwrap_err().to_string();
        assert!(told().contains("wrote no result"));
        std::fs::write(dir.path().join("other"), r#"{"accuracy": 1}"#).unwrap();
        std::os::unix::fs::symlink("other", &path).unwrap();
        assert!(told().contains("no plain file"));
        std::fs::remove_file(&path).unwrap();
        std::fs::File::create(&path).unwrap().set_len(2 << 30).unwrap();
        assert!(told().contains("2147483648 bytes"));
    }
}
