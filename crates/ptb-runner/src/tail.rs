//! The last line of what is being printed, for whoever watches: a few kilobytes, whatever is printed.

/// Bytes that are looked at for the last line.
const LOOKED_AT: usize = 2048;

/// The end of what two streams have printed.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// The stream that printed last.
    stream: &'static str,
    /// The end of what it printed since the other one did.
    bytes: Vec<u8>,
    fresh: bool,
}

impl Tail {
    /// Something was printed. Copies at most [`LOOKED_AT`] bytes of it.
    pub(crate) fn add(&mut self, stream: &'static str, block: &[u8]) {
        let block = &block[block.len().saturating_sub(LOOKED_AT)..];
        if self.stream != stream {
            self.stream = stream;
            self.bytes.clear();
        }
        let over = (self.bytes.len() + block.len()).saturating_sub(LOOKED_AT);
        self.bytes.drain(..over.min(self.bytes.len()));
        self.bytes.extend_from_slice(block);
        self.fresh = true;
    }

    /// The last line, if anything was added since this was last asked.
    pub(crate) fn news(&mut self) -> Option<String> {
        if !std::mem::take(&mut self.fresh) {
            return None;
        }
        last_line(&self.bytes).map(|line| String::from_utf8_lossy(line).into_owned())
    }
}

/// The last line that is not blank. A line also ends at a carriage return: that is how progress bars write
/// over themselves. What follows the last newline counts only where there is nothing else, for it may be
/// half a line; what follows a carriage return is a bar's newest state.
fn last_line(bytes: &[u8]) -> Option<&[u8]> {
    let is_end = |b: &u8| matches!(b, b'\n' | b'\r');
    let whole = bytes.iter().rposition(is_end).map_or(0, |at| at + 1);
    let (ended, open) = bytes.split_at(whole);
    let of_a_bar = ended.last() == Some(&b'\r');
    let ended = ended.split(is_end).rfind(|line| !is_blank(line));
    let open = Some(open).filter(|line| !is_blank(line));
    if of_a_bar { open.or(ended) } else { ended.or(open) }
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(blocks: &[&[u8]]) -> Option<String> {
        let mut tail = Tail::default();
        blocks.iter().for_each(|block| tail.add("out", block));
        tail.news()
    }

    #[test]
    fn the_last_line_is_what_a_person_would_read() {
        for (blocks, line) in [
            (&[&b"step 1 loss 0.5\nstep 2 loss 0.4\n"[..]][..], "step 2 loss 0.4"),
            (&[b"step 1\n", b"step ", b"2\n"], "step 2"),
            (&[b"step 1\nste"], "step 1"),
            (&[b"no newline yet"], "no newline yet"),
            (&[b"\r 10 %|#  |", b"\r 20 %|## |"], " 20 %|## |"),
            (&[b" 10 %\r 20 %\r"], " 20 %"),
            (&[b"done\r\n \t\n\n"], "done"),
            (&[b"\xff\xfe bytes\n"], "\u{fffd}\u{fffd} bytes"),
        ] {
            assert_eq!(said(blocks).as_deref(), Some(line), "{blocks:?}");
        }
        assert_eq!(said(&[]), None);
        assert_eq!(said(&[b"\n\n  \n"]), None);
    }

    #[test]
    fn what_is_not_new_is_not_told_again_and_streams_do_not_mix() {
        let mut tail = Tail::default();
        tail.add("out", b"loss 0.4\n");
        assert_eq!(tail.news().as_deref(), Some("loss 0.4"));
        assert_eq!(tail.news(), None);
        tail.add("out", b"half of a line");
        tail.add("err", b"warning\n");
        assert_eq!(tail.news().as_deref(), Some("warning"));
    }

    proptest! {
        #[test]
        fn however_much_is_printed_little_is_kept(
            blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5000), 0..8),
        ) {
            let mut tail = Tail::default();
            for block in &blocks {
                tail.add("out", block);
                prop_assert!(tail.bytes.len() <= LOOKED_AT);
            }
            let line = tail.news().unwrap_or_default();
            prop_assert!(!line.contains(['\n', '\r']));
        }
    }
}
