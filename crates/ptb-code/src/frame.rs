//! Messages to and from the children: a length of four bytes, little-endian; one letter that says what
//! it is; the content. Every read has a bound and a deadline.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Longest content of a frame that a child may send; the scripts have the same number.
pub(crate) const MOST_BYTES: usize = 4 << 20;

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) content: Vec<u8>,
}

/// Why no message came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// The other end is closed, in or between messages.
    Gone,
    /// Time is over.
    Late,
    /// A message of no length or of too much.
    Nonsense,
}

/// Bytes asked of the kernel at once.
const GULP: usize = 64 << 10;

/// A child's end of the conversation.
#[derive(Debug)]
pub(crate) struct Channel {
    stream: UnixStream,
    deadline: Instant,
    /// What came beyond the last message.
    unread: Vec<u8>,
}

impl Channel {
    pub(crate) fn new(stream: UnixStream, deadline: Instant) -> Self {
        Self { stream, deadline, unread: Vec::new() }
    }

    /// From here on everything must come before this deadline.
    pub(crate) fn until(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// Waits for one message.
    pub(crate) fn read(&mut self) -> Result<Frame, Silence> {
        loop {
            if let Some((head, rest)) = self.unread.split_first_chunk::<4>() {
                let length = u32::from_le_bytes(*head) as usize;
                if length == 0 || length > MOST_BYTES + 1 {
                    return Err(Silence::Nonsense);
                }
                if let Some((body, rest)) = rest.split_at_checked(length) {
                    let frame = Frame { kind: body[0], content: body[1..].to_vec() };
                    self.unread = rest.to_vec();
                    return Ok(frame);
                }
            }
            self.read_some()?;
        }
    }

    /// Room grows with what really comes, not with what a length promises.
    fn read_some(&mut self) -> Result<(), Silence> {
        let from = self.unread.len();
        let left = self.left()?;
        self.stream.set_read_timeout(Some(left)).map_err(|_| Silence::Gone)?;
        self.unread.resize(from + GULP, 0);
        let read = self.stream.read(&mut self.unread[from..]);
        self.unread.truncate(from + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(Silence::Gone),
            Ok(_) => Ok(()),
            Err(error) => Self::passing(&error),
        }
    }

    /// Sends one message.
    pub(crate) fn write(&self, kind: u8, content: &[u8]) -> Result<(), Silence> {
        let length = u32::try_from(content.len() + 1).map_err(|_| Silence::Nonsense)?;
        let mut rest = &[&length.to_le_bytes()[..], &[kind], content].concat()[..];
        while !rest.is_empty() {
            let left = self.left()?;
            self.stream.set_write_timeout(Some(left)).map_err(|_| Silence::Gone)?;
            match (&self.stream).write(rest) {
                Ok(0) => return Err(Silence::Gone),
                Ok(n) => rest = &rest[n..],
                Err(error) => Self::passing(&error)?,
            }
        }
        Ok(())
    }

    /// Time until the deadline, never zero: that would mean for ever to the kernel.
    fn left(&self) -> Result<Duration, Silence> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(Silence::Late),
            left => Ok(left.max(Duration::from_millis(1))),
        }
    }

    /// Whether to try again: the deadline is looked at before each try.
    fn passing(error: &std::io::Error) -> Result<(), Silence> {
        match error.kind() {
            ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut => Ok(()),
            _ => Err(Silence::Gone),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(millis: u64) -> (Channel, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Channel::new(ours, Instant::now() + Duration::from_millis(millis)), theirs)
    }

    #[test]
    fn a_message_comes_back_as_it_was_sent() {
        let (mut channel, theirs) = pair(60_000);
        let other = Channel::new(theirs, Instant::now() + Duration::from_secs(60));
        let content = vec![7; 200_000];
        std::thread::scope(|scope| {
            scope.spawn(|| other.write(b'r', &content).unwrap());
            assert_eq!(channel.read(), Ok(Frame { kind: b'r', content: content.clone() }));
        });
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for (bytes, why) in [
            (&[0, 0, 0, 0][..], Silence::Nonsense),
            (&[255, 255, 255, 255], Silence::Nonsense),
            (&[2, 0, 64, 0], Silence::Nonsense),
            (&[255, 0, 0, 0, b'r', 1], Silence::Gone),
            (&[1, 0], Silence::Gone),
            (&[], Silence::Gone),
        ] {
            let (mut channel, mut theirs) = pair(60_000);
            theirs.write_all(bytes).unwrap();
            drop(theirs);
            assert_eq!(channel.read(), Err(why), "{bytes:?}");
        }
    }

    #[test]
    fn silence_ends_with_the_deadline_reading_and_writing() {
        let (mut channel, _theirs) = pair(50);
        assert_eq!(channel.read(), Err(Silence::Late));
        let (channel, _theirs) = pair(50);
        assert_eq!(channel.write(b'c', &vec![0; 8 << 20]), Err(Silence::Late));
    }
}
