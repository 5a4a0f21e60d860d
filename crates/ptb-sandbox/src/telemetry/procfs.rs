//! Bounded reading of `/proc`. Formats: proc(5).

use std::fs::File;
use std::io::Read as _;
use std::sync::OnceLock;

/// A file of a process has less than this, but for those that are not read here.
const MOST: usize = 8 << 10;
/// Clock ticks of a second in `/proc`: `USER_HZ`, which is 100 on every architecture that this program is built for.
pub(super) const TICKS: f64 = 100.0;

/// A file of `/proc`, its first bytes at least; `None` when it cannot be read, which is so when a process has gone.
pub(super) fn read<'a>(path: &str, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    buffer.resize(MOST, 0);
    let mut file = File::open(path).ok()?;
    let mut length = 0;
    // Most come with the first read; the longer ones line by line.
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    buffer.get(..length)
}

/// Bytes of a page of memory, which is how the kernel counts resident ones. The kernel tells every program at its start:
/// entry `AT_PAGESZ` of getauxval(3).
pub(super) fn page_size() -> u64 {
    const AT_PAGESZ: usize = 6;
    static SIZE: OnceLock<u64> = OnceLock::new();
    *SIZE.get_or_init(|| {
        let mut buffer = Vec::new();
        let words = read("/proc/self/auxv", &mut buffer).unwrap_or_default();
        let word = |bytes: &[u8]| bytes.try_into().map_or(0, usize::from_ne_bytes);
        let mut words = words.chunks_exact(size_of::<usize>()).map(word);
        while let (Some(key), Some(value)) = (words.next(), words.next()) {
            if key == AT_PAGESZ {
                return value as u64;
            }
        }
        4096
    })
}

/// The number behind `name` in a file of `name: value` lines.
pub(super) fn field(text: &[u8], name: &str) -> Option<u64> {
    text.split(|b| *b == b'\n').find_map(|line| {
        let rest = line.strip_prefix(name.as_bytes())?;
        let rest = std::str::from_utf8(rest).ok()?.trim_start_matches(':');
        rest.split_whitespace().next()?.parse().ok()
    })
}

/// What `/proc/<pid>/stat` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stat {
    /// Its name, harmless for a terminal.
    pub(super) name: String,
    pub(super) parent: i32,
    /// Ticks of itself, of all its threads.
    pub(super) own: i64,
    /// Ticks of children whose end it has taken, with theirs.
    pub(super) children: i64,
    pub(super) threads: u64,
    /// When it started, in ticks since the machine did: with the number of a process it names one.
    pub(super) start: u64,
    pub(super) resident_pages: u64,
}

impl Stat {
    /// That of one process.
    pub(super) fn of(pid: i32, buffer: &mut Vec<u8>) -> Option<Self> {
        Self::parse(read(&format!("/proc/{pid}/stat"), buffer)?)
    }

    /// The name is in parentheses and may hold any byte, parentheses and newlines too.
    fn parse(text: &[u8]) -> Option<Self> {
        let open = text.iter().position(|b| *b == b'(')?;
        let close = text.iter().rposition(|b| *b == b')').filter(|close| *close > open)?;
        let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The first field here is the third of proc(5).
        let number = |n: usize| fields.get(n - 3)?.parse::<i64>().ok();
        let natural = |n: usize| number(n).and_then(|v| u64::try_from(v).ok());
        Some(Self {
            name: harmless(text.get(open + 1..close)?),
            parent: i32::try_from(number(4)?).ok()?,
            own: number(14)?.saturating_add(number(15)?),
            children: number(16)?.saturating_add(number(17)?),
            threads: natural(20)?,
            start: fields.get(22 - 3)?.parse().ok()?,
            resident_pages: natural(24).unwrap_or(0),
        })
    }
}

/// A process's name as text without anything that a terminal obeys.
fn harmless(name: &[u8]) -> String {
    let plain = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    String::from_utf8_lossy(name).chars().map(plain).collect()
}

/// Bytes of storage that a process, its threads and the children whose end it has taken have read and written.
pub(super) fn storage(pid: i32, buffer: &mut Vec<u8>) -> Option<(u64, u64)> {
    let text = read(&format!("/proc/{pid}/io"), buffer)?;
    Some((field(text, "read_bytes")?, field(text, "write_bytes")?))
}

/// A value in kB of a process's file, in bytes.
pub(super) fn kilobytes(pid: i32, file: &str, name: &str, buffer: &mut Vec<u8>) -> Option<u64> {
    let text = read(&format!("/proc/{pid}/{file}"), buffer)?;
    Some(field(text, name)?.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_changes_no_field() {
        let line = |name: &[u8]| {
            let tail = b" S 7 1 1 0 -1 4194560 1 2 3 4 50 6 700 8 20 0 3 0 4242 1000000 25 18446744073709551615 1 1 0\n";
            [b"31 (", name, b")", &tail[..]].concat()
        };
        let plain = Stat::parse(&line(b"node")).unwrap();
        assert_eq!((plain.name.as_str(), plain.parent, plain.threads), ("node", 7, 3));
        assert_eq!((plain.own, plain.children, plain.start), (56, 708, 4242));
        assert_eq!(plain.resident_pages, 25);
        let hostile = Stat::parse(&line(b") R 1 \n\x1b[2J\xff")).unwrap();
        assert_eq!(hostile.name, ") R 1 \u{fffd}\u{fffd}[2J\u{fffd}");
        assert_eq!(Stat { name: plain.name.clone(), ..hostile }, plain);
        for broken in [&b""[..], b"31 (x", b"31 (x) S 7", b")(", b"31 (x) S a b c"] {
            assert_eq!(Stat::parse(broken), None);
        }
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = b"rchar: 9\nread_bytes: 12\nwrite_bytes: 34\ncancelled_write_bytes: 5\nPss:      77 kB\n";
        assert_eq!(field(text, "read_bytes:"), Some(12));
        assert_eq!(field(text, "write_bytes"), Some(34));
        assert_eq!(field(text, "Pss:"), Some(77));
        assert_eq!(field(text, "none"), None);
    }

    #[test]
    fn this_process_is_read() {
        let (mut buffer, me) = (Vec::new(), std::process::id() as i32);
        let stat = Stat::of(me, &mut buffer).unwrap();
        assert!(stat.threads >= 1 && stat.resident_pages > 0 && stat.start > 0);
        assert!(kilobytes(me, "smaps_rollup", "Pss:", &mut buffer).is_some_and(|b| b > 0));
        assert!([4096, 16384, 65536].contains(&page_size()));
        assert_eq!(Stat::of(i32::MAX, &mut buffer), None);
    }
}
