//! What a person sees: on terminals of several widths, and in a log.

use std::time::{Duration, Instant};

use indicatif::InMemoryTerm;
use proptest::prelude::*;
use ptb_core::run::Stage;
use ptb_report::text::columns;
use ptb_runner::Notice;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use crate::screen::Screen;

const SFT: &str = "sft-tiny-arithmetic-0.05h-r1";

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn board(runs: usize, log: bool) -> Board {
    Board::new(Some(runs), CancellationToken::new(), log)
}

fn evaluating(done: u64, total: u64) -> Notice {
    Notice::Evaluating { what: "generating", done, total }
}

fn samples(done: u64) -> Notice {
    Notice::Count { what: "samples".to_owned(), done, total: 200 }
}

/// A run that trains and evaluates through the door, one in its final evaluation, one that ended.
fn at_work(board: &mut Board, start: Instant) -> Instant {
    for (at, run, notice) in [
        (0, "base-tiny-arithmetic-0.05h-r1", Notice::Stage(Stage::Evaluate)),
        (1, "base-tiny-arithmetic-0.05h-r1", Notice::Ended("score 0.1000".to_owned())),
        (1, SFT, Notice::Stage(Stage::Prepare)),
        (1, SFT, Notice::Stage(Stage::Solve)),
        (2, "instruct-tiny-arithmetic-0.05h-r1", Notice::Stage(Stage::Evaluate)),
        (2, "instruct-tiny-arithmetic-0.05h-r1", samples(20)),
        (40, SFT, evaluating(100, 100)),
        (41, SFT, Notice::Evaluated(Some(0.23))),
        (42, "instruct-tiny-arithmetic-0.05h-r1", samples(100)),
        (58, SFT, evaluating(0, 100)),
        (60, SFT, evaluating(34, 100)),
        (61, SFT, Notice::TimeLeft(seconds(121))),
        (61, SFT, Notice::Output("step 120/600 loss 0.43".to_owned())),
    ] {
        let told = board.hear(run, notice, start + seconds(at));
        assert_eq!(told.is_empty(), at != 1 || run == SFT, "{told:?}");
    }
    start + seconds(62)
}

/// What stands on a terminal of so many columns after some drawings.
fn on_terminal(board: &Board, now: Instant, wide: u16) -> String {
    let terminal = InMemoryTerm::new(24, wide);
    let mut screen = Screen::new(terminal.clone());
    for _ in 0..3 {
        screen.draw(&board.lines(now, wide, 24, true), wide);
    }
    terminal.contents()
}

#[test]
fn runs_on_terminals_of_several_widths() {
    let mut board = board(12, false);
    let now = at_work(&mut board, Instant::now());
    let widths = [20, 40, 80, 200];
    let shown = widths.map(|wide| format!("{wide}:\n{}\n", on_terminal(&board, now, wide)));
    insta::assert_snapshot!(shown.concat());
}

#[test]
fn one_thing_that_is_no_run_has_a_line() {
    let mut board = Board::new(None, CancellationToken::new(), false);
    let start = Instant::now();
    board.hear("arithmetic", samples(0), start);
    board.hear("arithmetic", samples(50), start + seconds(10));
    let lines = board.lines(start + seconds(10), 80, 24, false);
    assert_eq!(lines, ["arithmetic  50/200 samples  eta 0:30"]);
}

#[test]
fn many_runs_have_few_lines_and_the_rest_is_counted() {
    let mut board = board(64, false);
    let start = Instant::now();
    for run in 0..64 {
        board.hear(&format!("run-{run}"), Notice::Stage(Stage::Solve), start);
    }
    for (high, lines) in [(24, 11), (8, 7), (2, 2), (1, 2)] {
        let shown = board.lines(start, 80, high, false);
        assert_eq!(shown.len(), lines, "{high}: {shown:#?}");
        let more = format!("{} more under way", 64 - (lines - 1));
        assert!(shown.last().is_some_and(|last| last.contains(&more)), "{shown:#?}");
    }
}

#[test]
fn a_run_that_ends_makes_room_and_the_count_goes_up() {
    let mut board = board(3, false);
    let start = Instant::now();
    board.hear("a", Notice::Stage(Stage::Solve), start);
    board.hear("b", Notice::Stage(Stage::Judge), start);
    assert_eq!(board.hear("a", Notice::Ended("score 0.5".to_owned()), start), ["a: score 0.5"]);
    let lines = board.lines(start + seconds(3700), 80, 24, false);
    assert_eq!(lines, ["b  judge", "1/3 runs done  1:01:40"]);
}

/// Everything that a log gets of one run in a minute, with the seconds at which it came.
#[test]
fn a_log_of_a_run() {
    let mut board = board(1, true);
    let start = Instant::now();
    let mut log = String::new();
    let mut write = |at: u64, lines: Vec<String>| {
        lines.iter().for_each(|line| log.push_str(&format!("{at:>3} s  {line}\n")));
    };
    for at in 0..=60 {
        let now = start + seconds(at);
        let notices = match at {
            0 => vec![
                Notice::Stage(Stage::Prepare),
                Notice::Stage(Stage::Solve),
                Notice::TimeLeft(seconds(180)),
            ],
            1..=29 => vec![
                Notice::TimeLeft(seconds(180 - at)),
                Notice::Output(format!("step {at}0/600 loss {:.2}", 9.0 / (at as f64 + 1.0))),
            ],
            30..=39 => vec![evaluating((at - 30) * 10, 100), Notice::TimeLeft(seconds(180 - at))],
            40 => vec![Notice::Evaluated(Some(0.415)), Notice::Output("saved".to_owned())],
            41 => vec![Notice::Stage(Stage::Judge), Notice::Stage(Stage::Evaluate), samples(0)],
            42..=59 => vec![samples((at - 41) * 10)],
            _ => vec![
                Notice::Stage(Stage::Record),
                Notice::Line("final_model cannot be used".to_owned()),
                Notice::Ended("score 0.4200".to_owned()),
            ],
        };
        for notice in notices {
            write(at, board.hear(SFT, notice, now));
        }
        write(at, board.due(now));
    }
    insta::assert_snapshot!(log);
}

#[test]
fn a_log_stays_short_however_many_runs_and_notices_there_are() {
    let mut board = board(100, true);
    let start = Instant::now();
    let mut lines = 0;
    for at in 0..600 {
        let now = start + seconds(at);
        for run in 0..100 {
            let run = format!("run-{run}");
            for notice in [evaluating(at, 600), Notice::Output(format!("line {at}"))] {
                lines += board.hear(&run, notice, now).len();
            }
        }
        lines += board.due(now).len();
    }
    assert!((100..=300).contains(&lines), "{lines} lines in ten minutes");
}

#[test]
fn runs_that_need_nothing_are_named_up_to_a_number() {
    let mut board = board(1000, true);
    let now = Instant::now();
    let told: Vec<String> = (0..1000)
        .flat_map(|run| board.hear(&format!("r{run}"), Notice::Ended("done before".into()), now))
        .collect();
    assert_eq!(told.len(), 21);
    assert_eq!(told[20], "further runs like these are counted, not named");
    assert_eq!(board.lines(now, 80, 24, false), ["1000/1000 runs done  0:00"]);
}

#[test]
fn what_had_not_begun_when_all_was_stopped_is_not_told() {
    let stop = CancellationToken::new();
    let mut board = Board::new(Some(3), stop.clone(), true);
    let now = Instant::now();
    board.hear("a", Notice::Stage(Stage::Solve), now);
    stop.cancel();
    let stopped = || Notice::Ended("solve failed: stopped".to_owned());
    assert_eq!(board.hear("a", stopped(), now).len(), 1);
    assert_eq!(board.hear("b", stopped(), now).len(), 0);
    assert_eq!(board.lines(now, 80, 24, false), ["2/3 runs done  0:00  stopping"]);
}

/// Whatever an agent prints, a terminal shows it as text in one line, and only there.
#[test]
fn hostile_output() {
    let hostile = [
        "\u{1b}[2J\u{1b}[H\u{1b}]0;owned\u{7}gone",
        "over\rwritten\r\r",
        "\u{9b}2J\u{8}\u{8}\u{7f}\0",
        "\u{202e}reversed\u{2066}",
        "数数数数数数数数数数数数数数数数数数数数数数数数数数数数数数",
        "e\u{301}\u{301}\u{301}\u{301} 👩‍👩‍👧‍👦 \u{fffd}\u{fffd}",
        &"x".repeat(1 << 20),
        "\n\n\n",
    ];
    for text in hostile {
        let (mut board, start) = (board(1, true), Instant::now());
        board.hear(SFT, Notice::Stage(Stage::Solve), start);
        board.hear(SFT, Notice::TimeLeft(seconds(100)), start);
        board.hear(SFT, Notice::Output(text.to_owned()), start);
        let told = board.hear(SFT, Notice::Line(text.chars().take(900).collect()), start);
        for line in told.iter().chain(&board.due(start + seconds(60))) {
            assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
            assert!(columns(line) < 1000, "{}", line.len());
        }
        for wide in [20, 40, 80, 200] {
            let shown = on_terminal(&board, start, wide);
            let lines: Vec<&str> = shown.lines().collect();
            let said = wide < 60 && board.lines(start, wide, 24, false).len() == 3;
            assert_eq!(lines.len(), if said { 3 } else { 2 }, "{shown}");
            assert!(lines[0].contains("1:40"), "{shown}");
            assert!(lines[lines.len() - 1].starts_with("0/1 runs done"), "{shown}");
        }
    }
}

proptest! {
    #[test]
    fn no_line_is_wider_than_the_terminal(
        name in "\\PC{0,60}",
        said in "\\PC{0,300}|[\\x00-\\xff]{0,80}",
        wide in 0u16..210,
        high in 0u16..60,
    ) {
        let (mut board, start) = (board(1, false), Instant::now());
        board.hear(&name, Notice::Stage(Stage::Evaluate), start);
        board.hear(&name, Notice::Output(said), start);
        board.hear(&name, samples(3), start);
        for line in board.lines(start, wide, high, false) {
            prop_assert!(columns(&line) < usize::from(wide.max(1)), "{line:?}");
        }
    }
}
