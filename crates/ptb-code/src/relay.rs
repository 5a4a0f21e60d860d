//! The conversation of one job: the tests ask, the program answers, this process stands between them.
//!
//! Nothing of a program's answers is looked into here but their length and their kind. Which kinds may
//! come is fixed by whose turn it is; everything else ends the job.

use crate::frame::{Channel, Frame, Silence};
use crate::job::Job;
use serde_json::json;

/// Most calls that tests may make.
const MOST_CALLS: usize = 1_000_000;

/// How a conversation ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The tests say that all is well.
    Passed,
    /// The tests say that it is not.
    Failed(String),
    /// The program itself says so, and the tests wait for an answer that will not come.
    Broke(String),
    /// The tests themselves are broken.
    BadTests(String),
    /// No more is heard of the program.
    NoProgram(Silence),
    /// No more is heard of the tests.
    NoChecker(Silence),
}

/// Waits for the first word of a child: that it is confined and ready for its job.
pub(crate) fn is_ready(child: &mut Channel) -> bool {
    child.read().is_ok_and(|word| word.kind == b'h')
}

/// Leads one job to its end.
pub(crate) fn converse(job: &Job, program: &mut Channel, checker: &mut Channel) -> End {
    match lead(job, program, checker, MOST_CALLS) {
        Ok(end) | Err(end) => end,
    }
}

fn lead(
    job: &Job,
    program: &mut Channel,
    checker: &mut Channel,
    most_calls: usize,
) -> Result<End, End> {
    let task = json!({ "source": job.source, "entry_point": job.entry_point });
    program.write(b'j', task.to_string().as_bytes()).map_err(End::NoProgram)?;
    // The tests load while the program does; their first question waits in the channel.
    let task = json!({
        "prelude": job.prelude, "entry_point": job.entry_point, "tests": job.tests,
    });
    checker.write(b'j', task.to_string().as_bytes()).map_err(End::NoChecker)?;
    loaded(&program.read().map_err(End::NoProgram)?)?;
    for _ in 0..most_calls {
        let Frame { kind, content } = checker.read().map_err(End::NoChecker)?;
        match kind {
            b'c' => program.write(b'c', &content).map_err(End::NoProgram)?,
            b'p' => return Ok(End::Passed),
            b'f' => return Ok(End::Failed(plain(&content, 80))),
            b't' => return Ok(End::BadTests(plain(&content, 200))),
            _ => return Ok(End::NoChecker(Silence::Nonsense)),
        }
        let Frame { kind, content } = program.read().map_err(End::NoProgram)?;
        let passed_on = match kind {
            b'r' => checker.write(kind, &content),
            b'e' => checker.write(kind, error_name(&content).as_bytes()),
            b'x' => return Ok(End::Broke("the program left during a call".to_owned())),
            b'u' => return Ok(End::Broke("the answer is no plain value".to_owned())),
            _ => return Ok(End::NoProgram(Silence::Nonsense)),
        };
        passed_on.map_err(End::NoChecker)?;
    }
    // How often they ask may follow from what they were answered.
    Ok(End::Broke(format!("the tests call the function more than {most_calls} times")))
}

/// The program's word after loading.
fn loaded(word: &Frame) -> Result<(), End> {
    let name = error_name(&word.content);
    match word.kind {
        b'l' => Ok(()),
        b'y' => Err(End::Broke(format!("the program does not compile ({name})"))),
        b's' => Err(End::Broke(format!("the program raised {name} while loading"))),
        b'x' => Err(End::Broke("the program left while loading".to_owned())),
        b'n' => Err(End::Broke("the function is not defined".to_owned())),
        _ => Err(End::NoProgram(Silence::Nonsense)),
    }
}

/// A type's name as the program told it: only what can be one.
fn error_name(content: &[u8]) -> &str {
    let is_name = (1..=64).contains(&content.len())
        && content.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    std::str::from_utf8(content).ok().filter(|_| is_name).unwrap_or("Exception")
}

/// Text of the tests' child, short and without control characters.
fn plain(content: &[u8], most: usize) -> String {
    let text = String::from_utf8_lossy(content);
    text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    /// As many calls as a conversation of these tests may have.
    const CALLS: usize = 3;

    /// Plays both children from scripts of frames and tells how it ended, with what the tests heard.
    fn play(program: &[(u8, &[u8])], checker: &[(u8, &[u8])]) -> (End, Vec<Frame>) {
        let soon = Instant::now() + Duration::from_secs(20);
        let side = |says: &[(u8, &[u8])]| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let theirs = Channel::new(theirs, soon);
            for (kind, content) in says {
                theirs.write(*kind, content).unwrap();
            }
            (Channel::new(ours, soon), theirs)
        };
        let ((mut to_program, _program), (mut to_checker, mut checker)) =
            (side(program), side(checker));
        let end = lead(&Job::default(), &mut to_program, &mut to_checker, CALLS);
        let end = end.unwrap_or_else(|end| end);
        drop(to_checker);
        let heard = std::iter::from_fn(|| checker.read().ok()).collect();
        (end, heard)
    }

    #[test]
    fn only_the_tests_can_say_passed() {
        let asks: &[(u8, &[u8])] = &[(b'c', b"[]"), (b'f', b"an assertion failed")];
        for forged in [b'p', b'f', b't', b'c', b'h', b'l', 0] {
            let (end, _) = play(&[(b'l', b""), (forged, b"")], asks);
            assert_eq!(end, End::NoProgram(Silence::Nonsense), "{forged}");
        }
        for forged in [b'p', b'f', b't', b'c', b'h', b'r', 0] {
            let (end, _) = play(&[(forged, b"")], asks);
            assert_eq!(end, End::NoProgram(Silence::Nonsense), "{forged}");
        }
        let (end, heard) = play(&[(b'l', b""), (b'r', b"1"), (b'p', b"")], asks);
        assert_eq!(end, End::Failed("an assertion failed".to_owned()));
        assert_eq!(heard[1], Frame { kind: b'r', content: b"1".to_vec() });
    }

    #[test]
    fn tests_that_an_answer_keeps_asking_are_no_bad_tests() {
        let mut says = [(b'r', &b"1"[..]); CALLS + 2];
        says[0] = (b'l', b"");
        let (end, heard) = play(&says, &[(b'c', &b"[]"[..]); CALLS + 1]);
        assert_eq!(end, End::Broke("the tests call the function more than 3 times".to_owned()));
        assert_eq!(heard.len(), 1 + CALLS);
    }

    #[test]
    fn names_of_errors_are_names() {
        for (told, heard) in [
            (&b"ValueError"[..], "ValueError"),
            (b"", "Exception"),
            (b"x y", "Exception"),
            (&[b'A'; 65], "Exception"),
            ("\u{1b}[31m".as_bytes(), "Exception"),
        ] {
            assert_eq!(error_name(told), heard);
        }
        assert_eq!(plain(b"a\x1b[31m\xff", 80), "a [31m\u{fffd}");
    }
}
