//! What is packed: unpacked as a stream, within bounds that no honest package comes near.

use std::io::{self, Read, Seek};

use super::sniff::What;
use super::{Limits, Sink, Source, read};

/// Most members of one archive.
const MOST_MEMBERS: usize = 200_000;

/// What one package may unpack to, in bytes.
fn bound(limits: &Limits, packed: Option<u64>) -> u64 {
    limits.unpacked.max(packed.unwrap_or(0).saturating_mul(limits.ratio))
}

/// An error when more comes out than may.
struct Bounded<R> {
    inner: R,
    left: u64,
    bound: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        match self.left.checked_sub(n as u64) {
            Some(left) => {
                self.left = left;
                Ok(n)
            }
            None => Err(io::Error::other(format!(
                "it unpacks to more than {} bytes, of which no more were read",
                self.bound
            ))),
        }
    }
}

/// gzip or zstd.
pub(super) fn unpack(
    sink: &mut dyn Sink,
    limits: &Limits,
    name: &str,
    what: What,
    rest: Box<dyn Read>,
    size: Option<u64>,
    depth: usize,
) -> io::Result<()> {
    let bound = bound(limits, size);
    let inner: Box<dyn Read> = match what {
        What::Gzip => Box::new(flate2::read::MultiGzDecoder::new(rest)),
        _ => {
            let mut decoder = zstd::stream::read::Decoder::new(rest)?;
            // 128 MiB, the most that the program unpacks unasked.
            decoder.window_log_max(27)?;
            Box::new(decoder)
        }
    };
    let bounded = Bounded { inner, left: bound, bound };
    read(sink, limits, name, Source::Stream(Box::new(bounded)), depth + 1);
    Ok(())
}

/// A zip archive: each member as a file of its own.
pub(super) fn zip(
    sink: &mut dyn Sink,
    limits: &Limits,
    name: &str,
    source: impl Read + Seek,
    size: u64,
    depth: usize,
) -> io::Result<()> {
    let mut archive = zip::ZipArchive::new(source).map_err(io::Error::other)?;
    let mut left = bound(limits, Some(size));
    let members = archive.len();
    if members > MOST_MEMBERS {
        sink.unread(name, format!("of its {members} members {MOST_MEMBERS} are read"));
    }
    for i in 0..members.min(MOST_MEMBERS) {
        let member = match archive.by_index(i) {
            Ok(member) => member,
            Err(e) => {
                sink.unread(name, format!("its member {} cannot be read: {e}", i + 1));
                continue;
            }
        };
        if member.is_dir() {
            continue;
        }
        let own = member
            .name()
            .map_or_else(|_| format!("member {}", i + 1), |n| n.escape_default().to_string());
        let inner = format!("{name}!{own}");
        let held = held(member, limits.held.min(left), &inner, sink);
        left -= held.len() as u64;
        read(sink, limits, &inner, Source::Stream(Box::new(io::Cursor::new(held))), depth + 1);
        if left == 0 {
            sink.unread(name, "it unpacks to more than is read; the rest was left out".to_owned());
            break;
        }
    }
    Ok(())
}

/// A member, whole or as far as may be.
fn held(member: impl Read, most: u64, name: &str, sink: &mut dyn Sink) -> Vec<u8> {
    let mut held = Vec::new();
    let outcome = member.take(most).read_to_end(&mut held);
    match outcome {
        Err(e) => sink.unread(name, format!("it was read as far as {} bytes: {e}", held.len())),
        Ok(n) if n as u64 == most => {
            sink.unread(name, format!("it was read as far as {most} bytes"))
        }
        Ok(_) => {}
    }
    held
}

/// A tar archive: blocks of 512 bytes, a header before each member
/// (<https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html>).
pub(super) fn tar(
    sink: &mut dyn Sink,
    limits: &Limits,
    name: &str,
    mut rest: Box<dyn Read>,
    depth: usize,
) -> io::Result<()> {
    let mut long_name = None;
    for _ in 0..MOST_MEMBERS {
        let mut header = [0; 512];
        if !read_block(&mut rest, &mut header)? || header.iter().all(|b| *b == 0) {
            return Ok(());
        }
        if &header[257..262] != b"ustar" {
            return Err(io::Error::other("it is a broken tar archive; what follows was not read"));
        }
        let size = octal(&header[124..136])
            .ok_or_else(|| io::Error::other("it is a tar archive with a wrong size in it"))?;
        let kind = header[156];
        let padded = size.checked_next_multiple_of(512).unwrap_or(size);
        let mut member = rest.by_ref().take(padded);
        if matches!(kind, 0 | b'0' | b'7' | b'L') {
            let own = String::from_utf8_lossy(
                header[..100].split(|b| *b == 0).next().unwrap_or_default(),
            )
            .into_owned();
            let inner = format!("{name}!{}", long_name.take().unwrap_or(own).escape_default());
            let mut held = held(member.by_ref().take(size), limits.held, &inner, sink);
            if kind == b'L' {
                held.truncate(4096);
                long_name = Some(
                    String::from_utf8_lossy(held.trim_ascii_end())
                        .trim_end_matches('\0')
                        .to_owned(),
                );
            } else {
                read(
                    sink,
                    limits,
                    &inner,
                    Source::Stream(Box::new(io::Cursor::new(held))),
                    depth + 1,
                );
            }
        }
        io::copy(&mut member, &mut io::sink())?;
    }
    sink.unread(name, format!("only its first {MOST_MEMBERS} members are read"));
    Ok(())
}

fn read_block(source: &mut dyn Read, block: &mut [u8; 512]) -> io::Result<bool> {
    let mut at = 0;
    while at < block.len() {
        match source.read(&mut block[at..])? {
            0 if at == 0 => return Ok(false),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => at += n,
        }
    }
    Ok(true)
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    u64::from_str_radix(text, 8).ok()
}
