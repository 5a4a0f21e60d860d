//! Samples' ids, as Inspect can find samples by them.
//!
//! Inspect looks for the sample `id` of epoch `n` under the name `samples/{id}_epoch_{n}.json`, without escaping
//! anything: slashes, dots and any script are fine. What cannot be such a name is replaced: ids with NUL (readers cut
//! names there), with line breaks and other controls (`inspect view` finds no page for them), with `..` as a part of
//! the path (whoever unpacks the archive would write outside), and very long ones.

use std::borrow::Cow;
use std::fmt;

use ptb_core::files::sha256_hex;
use serde::{Serialize, Serializer};

/// Longest id that is kept, in bytes; names in archives end at 65,535.
const LONGEST: usize = 1024;
/// Numbers up to here are the same in JavaScript.
const LARGEST: u64 = 1 << 53;

/// How the ids of a log are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    /// As numbers, as Inspect itself numbers samples: they sort by value then.
    numbers: bool,
}

impl Names {
    /// Ids are numbers where all of the dataset are.
    pub(super) fn of(ids: &[&str]) -> Self {
        Self { numbers: ids.iter().all(|id| number(id).is_some()) }
    }

    /// An id as it stands in the log.
    pub(super) fn id<'a>(&self, id: &'a str) -> LogId<'a> {
        match number(id).filter(|_| self.numbers) {
            Some(number) => LogId::Number(number),
            None => LogId::Text(text(id)),
        }
    }
}

/// A sample's id in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LogId<'a> {
    Number(u64),
    Text(Cow<'a, str>),
}

impl LogId<'_> {
    /// Whether it is another than the dataset's.
    pub(super) fn is_replaced(&self) -> bool {
        matches!(self, Self::Text(Cow::Owned(_)))
    }
}

impl fmt::Display for LogId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Serialize for LogId<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

/// The number that is written exactly so.
fn number(id: &str) -> Option<u64> {
    let number: u64 = id.parse().ok().filter(|n| *n <= LARGEST)?;
    (number.to_string() == id).then_some(number)
}

/// The id itself, or its beginning with a hash that keeps it apart from all others.
fn text(id: &str) -> Cow<'_, str> {
    let leads_out = || id.split(['/', '\\']).any(|part| part == "..");
    if id.len() <= LONGEST && !id.contains(is_control) && !leads_out() {
        return Cow::Borrowed(id);
    }
    let tame = |c| if is_control(c) || c == '/' || c == '\\' { '_' } else { c };
    let start: String = id.chars().take(40).map(tame).collect();
    let hash = sha256_hex(id.as_bytes());
    Cow::Owned(format!("{start}~{}", &hash[..32]))
}

/// Whether a character is none that an address can have: JavaScript's `.` matches no line break.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_kept_where_they_can_be() {
        let names = Names::of(&["1", "x"]);
        for id in ["HumanEval/12", "1", "007", "", "a..b", ".", "Ünï ☃", "a\\b", "x_epoch_1", " "]
        {
            assert_eq!(names.id(id), LogId::Text(Cow::Borrowed(id)));
        }
        let long = "é".repeat(600);
        let hard = [
            "a\0b",
            "a\0c",
            "a\n",
            "a\u{2028}",
            "a\u{85}",
            "../../etc/x",
            "..\\x",
            "a/..",
            "a/../b",
            "..",
            &long,
        ];
        let replaced: HashSet<String> = hard
            .iter()
            .map(|id| {
                let id = names.id(id);
                assert!(id.is_replaced());
                id.to_string()
            })
            .collect();
        assert_eq!(replaced.len(), hard.len());
        for id in &replaced {
            assert!(id.len() < 120 && !id.contains(['\0', '\n', '/', '\\']), "{id}");
        }
    }

    #[test]
    fn ids_are_numbers_where_all_are() {
        let names = Names::of(&["1", "20", "0"]);
        assert_eq!(names.id("20"), LogId::Number(20));
        assert_eq!(names.id("020").to_string(), "020");
        for other in ["01", "+1", "-1", "1.0", "99999999999999999999", "9007199254740993", ""] {
            assert_eq!(
                Names::of(&["1", other]).id("1"),
                LogId::Text(Cow::Borrowed("1")),
                "{other}"
            );
        }
    }
}
