//! As much HTTP/1.1 over a Unix socket as the doors speak: one request a connection, a reply in chunks,
//! of a known length, or up to the end.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::{FAILED, Failure};

/// The door says every few seconds that it is alive; this much silence means that it is not.
const SILENCE: Duration = Duration::from_secs(60);
/// Bytes of a reply's head.
const HEAD: u64 = 64 << 10;
/// Bytes of one line of a reply.
const LINE: u64 = 64 << 20;

/// How a body tells where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// Chunks; the current one has so many bytes left.
    Chunks(u64),
    /// So many bytes are left.
    Length(u64),
    /// At the end of the connection.
    ToEnd,
    /// It has ended.
    Ended,
}

/// The body of a reply, chunks put together.
struct Body<R> {
    reader: R,
    framing: Framing,
}

/// A reply whose lines are read one after the other.
pub(crate) struct Reply {
    body: BufReader<Body<BufReader<UnixStream>>>,
}

/// Where the door's socket is.
pub(crate) fn socket() -> PathBuf {
    std::env::var_os("PTB_DOOR_SOCKET").map_or_else(|| "/run/ptb/door.sock".into(), PathBuf::from)
}

/// Sends a request; `body` is JSON.
pub(crate) fn ask(method: &str, path: &str, body: &str) -> Result<Reply, Failure> {
    let socket = socket();
    let mut stream = UnixStream::connect(&socket).map_err(|e| {
        let message = format!("cannot reach the door {}: {e}", socket.display());
        let hint =
            "this works while a run is under way, inside of it; elsewhere set PTB_DOOR_SOCKET";
        Failure::new(FAILED, message, hint)
    })?;
    let exchange = || -> io::Result<Reply> {
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: door\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        match stream.write_all(request.as_bytes()) {
            // Turned away before the request was read: the answer says why.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) => {}
            other => other?,
        }
        let mut reader = BufReader::new(stream);
        let framing = read_head(&mut reader)?;
        Ok(Reply { body: BufReader::new(Body { reader, framing }) })
    };
    exchange().map_err(failed)
}

fn failed(e: io::Error) -> Failure {
    let hint = "try again in a moment";
    match e.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            Failure::new(FAILED, format!("the door was silent for {} s", SILENCE.as_secs()), hint)
        }
        _ => Failure::new(FAILED, format!("the door's answer cannot be read: {e}"), hint),
    }
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Reads a reply's head. Its status is not needed: every answer says in its body what it is.
fn read_head(reader: &mut impl BufRead) -> io::Result<Framing> {
    let mut head = Vec::new();
    let mut rest = reader.take(HEAD);
    while !head.ends_with(b"\r\n\r\n") {
        if rest.read_until(b'\n', &mut head)? == 0 {
            return Err(invalid("it ended, or was too long, before its head was complete"));
        }
    }
    let mut lines = [httparse::EMPTY_HEADER; 64];
    let mut reply = httparse::Response::new(&mut lines);
    let parsed = reply.parse(&head).map_err(|e| invalid(&format!("it is no HTTP: {e}")))?;
    if parsed.is_partial() {
        return Err(invalid("it is no HTTP: its head is empty"));
    }
    let value = |name: &str| {
        let header = reply.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok().map(str::trim)
    };
    if value("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        return Ok(Framing::Chunks(0));
    }
    match value("content-length").map(str::parse) {
        None => Ok(Framing::ToEnd),
        Some(Ok(length)) => Ok(Framing::Length(length)),
        Some(Err(_)) => Err(invalid("its length is no number")),
    }
}

impl<R: BufRead> Body<R> {
    /// A line of the framing itself.
    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.reader.by_ref().take(256).read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(text) => Ok(text.to_owned()),
            None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended within a chunk")),
        }
    }

    fn next_chunk(&mut self) -> io::Result<u64> {
        let line = self.line()?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        u64::from_str_radix(digits, 16).map_err(|_| invalid("a chunk's size is no number"))
    }
}

impl<R: BufRead> Read for Body<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.framing == Framing::Chunks(0) {
            self.framing = match self.next_chunk()? {
                0 => Framing::Ended,
                size => Framing::Chunks(size),
            };
        }
        let (Framing::Chunks(left) | Framing::Length(left)) = self.framing else {
            return match self.framing {
                Framing::ToEnd => self.reader.read(into),
                _ => Ok(0),
            };
        };
        let most = into.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = self.reader.read(&mut into[..most])?;
        if read == 0 && most > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended too early"));
        }
        let left = left - read as u64;
        match &mut self.framing {
            Framing::Chunks(rest) => {
                *rest = left;
                if left == 0 && !self.line()?.is_empty() {
                    return Err(invalid("a chunk is longer than it says"));
                }
            }
            Framing::Length(rest) => *rest = left,
            Framing::ToEnd | Framing::Ended => {}
        }
        Ok(read)
    }
}

impl Reply {
    /// The next line, without its end; `None` after the last.
    pub(crate) fn line(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let mut line = Vec::new();
        self.body.by_ref().take(LINE).read_until(b'\n', &mut line).map_err(failed)?;
        match line.last() {
            None => Ok(None),
            Some(b'\n') => {
                line.pop();
                Ok(Some(line))
            }
            Some(_) if (line.len() as u64) < LINE => Ok(Some(line)),
            Some(_) => Err(failed(invalid("a line is too long"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> io::Result<String> {
        let mut reader = BufReader::with_capacity(3, text.as_bytes());
        let framing = read_head(&mut reader)?;
        let mut out = String::new();
        BufReader::with_capacity(2, Body { reader, framing }).read_to_string(&mut out)?;
        Ok(out)
    }

    #[test]
    fn replies_of_each_framing() {
        let head = "HTTP/1.1 200 OK\r\n";
        let cases = [
            ("content-length: 5\r\n\r\nhello and more", "hello"),
            ("Content-Length: 0\r\n\r\n", ""),
            ("\r\nto the end", "to the end"),
            ("transfer-encoding: chunked\r\n\r\n4\r\nab\nc\r\n1;x=y\r\nd\r\n0\r\n\r\n", "ab\ncd"),
        ];
        for (rest, expected) in cases {
            assert_eq!(body(&format!("{head}{rest}")).unwrap(), expected);
        }
    }

    #[test]
    fn bad_replies_are_errors() {
        let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
        for bad in [
            "",
            "\r\n\r\n",
            "HTTP/1.1 200 OK\r\n",
            "nonsense\r\n\r\n",
            &long,
            "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nab",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nab",
        ] {
            assert!(body(bad).is_err(), "{:?}", &bad[..bad.len().min(80)]);
        }
    }
}
