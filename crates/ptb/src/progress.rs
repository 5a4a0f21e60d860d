//! Live progress on stderr: bars on a terminal, plain lines elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use ptb_report::text::clean;
use ptb_runner::{Notice, Progress};
use ptb_sandbox::format_hours_minutes;

use crate::print;

/// Pause between two plain lines about the same count.
const PLAIN_PAUSE: Duration = Duration::from_secs(15);

/// Progress for a person (`quiet` for scripts).
pub(crate) fn progress(quiet: bool) -> Progress {
    if quiet {
        return Arc::new(|_, _| {});
    }
    let show = shown();
    // Lines may quote what an agent named or wrote.
    Arc::new(move |run, notice| {
        show(
            run,
            match notice {
                Notice::Line(line) => Notice::Line(clean(&line)),
                Notice::Ended(line) => Notice::Ended(clean(&line)),
                other => other,
            },
        );
    })
}

fn shown() -> Progress {
    if std::io::stderr().is_terminal() {
        let bars = Mutex::new(Bars::default());
        return Arc::new(move |run, notice| {
            if let Ok(mut bars) = bars.lock() {
                bars.show(run, notice);
            }
        });
    }
    let lines = Mutex::new(Lines::default());
    Arc::new(move |run, notice| {
        if let Ok(mut lines) = lines.lock() {
            lines.show(run, notice);
        }
    })
}

#[derive(Default)]
struct Bars {
    all: MultiProgress,
    runs: HashMap<String, ProgressBar>,
}

impl Bars {
    fn show(&mut self, run: &str, notice: Notice) {
        let all = &self.all;
        let bar = self.runs.entry(run.to_owned()).or_insert_with(|| {
            let bar = all.add(ProgressBar::new_spinner());
            bar.set_style(style(false));
            bar.set_prefix(run.to_owned());
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        match notice {
            Notice::Stage(stage) => {
                bar.set_style(style(false));
                bar.set_message(stage.word());
            }
            Notice::Count { what, done, total } => {
                bar.set_style(style(true));
                bar.set_length(total);
                bar.set_position(done);
                bar.set_message(what);
            }
            Notice::TimeLeft(left) => bar.set_message(format!("solve, {} left", clock(left))),
            Notice::Line(line) => drop(all.println(format!("{run}: {line}"))),
            Notice::Ended(how) => {
                bar.finish_and_clear();
                let _ = all.println(format!("{run}: {how}"));
                self.runs.remove(run);
            }
        }
    }
}

fn style(counted: bool) -> ProgressStyle {
    let template = match counted {
        true => "{spinner} {prefix:.bold} {wide_bar} {pos}/{len} {msg} {eta}",
        false => "{spinner} {prefix:.bold} {wide_msg}",
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[derive(Default)]
struct Lines {
    last: HashMap<String, Instant>,
}

impl Lines {
    fn show(&mut self, run: &str, notice: Notice) {
        let text = match notice {
            Notice::Stage(stage) => stage.word().to_owned(),
            Notice::Count { what, done, total } if self.due(run) || done == total => {
                format!("{done}/{total} {what}")
            }
            Notice::TimeLeft(left) if self.due(run) => format!("{} left", clock(left)),
            Notice::Count { .. } | Notice::TimeLeft(_) => return,
            Notice::Line(line) | Notice::Ended(line) => line,
        };
        print::err(&format!("{run}: {text}"));
    }

    fn due(&mut self, run: &str) -> bool {
        let now = Instant::now();
        let last = self.last.entry(run.to_owned()).or_insert(now);
        let due = now.duration_since(*last) >= PLAIN_PAUSE;
        if due {
            *last = now;
        }
        due
    }
}

/// `H:MM`, and seconds in the last minutes.
fn clock(left: Duration) -> String {
    let seconds = left.as_secs();
    if seconds < 600 {
        format!("{}:{:02} min", seconds / 60, seconds % 60)
    } else {
        format_hours_minutes(left)
    }
}
