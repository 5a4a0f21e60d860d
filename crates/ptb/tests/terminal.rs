//! The program on a real terminal, a narrow one, beside an agent that prints what terminals obey.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]
#![expect(clippy::print_stderr, reason = "a test that skips says why")]

mod support;

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::process::{Command, Stdio};

use indicatif::{InMemoryTerm, TermLike};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use support::{Place, wall};

const COLUMNS: u16 = 40;

/// What a command writes to a terminal of [`COLUMNS`] columns, whether it succeeded.
fn on_terminal(command: &mut Command) -> (String, bool) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let theirs = OpenOptions::new().read(true).write(true).open(name).unwrap();
    let size = Winsize { ws_row: 24, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&ours, size).unwrap();
    let end = || Stdio::from(theirs.try_clone().unwrap());
    let mut child = command.env("TERM", "xterm").stdout(end()).stderr(end()).spawn().unwrap();
    // The command holds copies of its end: only without them does reading come to an end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    drop(theirs);
    let (mut ours, mut bytes, mut block) = (File::from(ours), Vec::new(), [0; 4096]);
    while let Ok(n) = ours.read(&mut block) {
        if n == 0 {
            break;
        }
        bytes.extend_from_slice(&block[..n]);
    }
    let done = child.wait().unwrap().success();
    (String::from_utf8(bytes).expect("what a terminal gets is UTF-8"), done)
}

/// Every picture that a terminal shows on the way: one whenever a changing line has been drawn, and the last.
fn pictures(written: &str) -> Vec<String> {
    let terminal = InMemoryTerm::new(60, COLUMNS);
    let show = |piece: &str| {
        terminal.write_str(piece).unwrap();
        terminal.contents()
    };
    written.split_inclusive("\u{1b}[K").map(show).collect()
}

#[test]
fn a_hostile_agent_on_a_narrow_terminal() {
    if !wall() {
        return;
    }
    let place = Place::new();
    place.agent(
        "bad",
        "cp -rL \"$PTB_BASE_MODEL\" final_model\n\
         for i in 1 2 3 4 5 6; do\n\
         printf '\\033]0;owned\\007\\033[2J\\033[31mstep %d/6 loss 0.%d\\033[0m\\n' $i $i; sleep 0.6\n\
         done\n\
         head -c 2000000 /dev/zero | tr '\\0' x; printf '\\r\\r\\033[1A\\xff\\xfe\\n'; sleep 1.5",
    );
    place.experiment("e", &["base", "bad"], "");
    let (written, done) = on_terminal(&mut place.run_command("e", &[]));
    assert!(done, "{written}");
    for command in ["\u{1b}]", "\u{1b}[2J", "\u{1b}[31m", "\u{fffd}"] {
        assert!(!written.contains(command), "{command:?} came through: {written:?}");
    }
    let pictures = pictures(&written);
    let seen = |words: &str| pictures.iter().any(|p| p.contains(words));
    assert!(seen("/6 loss 0."), "the loss is shown: {written:?}");
    assert!(seen("1/2 runs done 0:0"), "{written:?}");
    // Each picture has at most one line over all runs: nothing was wrapped, nothing left standing.
    for picture in &pictures {
        assert!(picture.matches("runs done").count() <= 1, "{picture}");
    }
    let last = pictures.last().unwrap();
    assert!(!last.contains("runs done"), "the lines are taken away: {last}");
    assert!(last.contains("next:") && last.contains("runs: 2 done; results: results/e"), "{last}");
    let line = "bad-mini-arithmetic-0.02h-r1: score";
    assert!(last.contains(line) || last.contains("bad-mini-arithmetic-0.02h-r1:\n"), "{last}");
}
