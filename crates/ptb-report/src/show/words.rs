//! The summary as text: at most a screen.

use ptb_core::run::{Counts, Evidence, Mark, Submission};

use super::{RunSummary, ScoreSummary, StageSummary, used};
use crate::measured::{in_a_line, in_brief};
use crate::text::{MAX_SHOWN, clock, count, percent, shown};

/// The evaluation that scores come from.
const FINAL: &str = "final";

/// Checks that say something only where a submission differs from the base model.
const NOTES: [&str; 3] = ["names", "chat-template", "tokenizer"];
/// Lines of one kind (scores, evaluations, evidence, verdicts, problems, what was used). With them all the text has 27
/// lines, which is a small screen.
const MAX_LINES: usize = 3;

impl RunSummary {
    /// The summary as text for people. What is left out is counted, and is in the JSON form.
    pub fn text(&self) -> String {
        let one = |word, text: String| (word, vec![text]);
        let scores = match self.scores.is_empty() {
            true => vec!["none yet".to_owned()],
            false => self.scores.iter().map(score_words).collect(),
        };
        let groups = [
            one("agent", self.agent_words()),
            one("cell", self.cell_words()),
            one("evaluation", self.evaluation_words()),
            one("stages", self.stage_words()),
            ("failed", self.stages.iter().filter_map(failure_words).take(1).collect()),
            one("solve", self.solve_words()),
            ("used", self.telemetry.iter().flat_map(|t| used::lines(t, self.gpus)).collect()),
            ("model api", self.usage_words()),
            ("score", scores),
            ("measured", self.measured()),
            ("evidence", self.evidence_words()),
            ("verdicts", self.verdict_words()),
            ("problems", self.problem_words()),
            one("files", self.files.join(" ")),
            one("where", self.path.clone()),
        ];
        let head = format!("{} ({})", shown(&self.slug, MAX_SHOWN), shown(&self.id, MAX_SHOWN));
        groups.iter().fold(head + "\n", |out, (word, texts)| out + &group(word, texts))
    }

    fn agent_words(&self) -> String {
        let options = self.options.iter().map(|(option, value)| format!(", {option} {value}"));
        let version = self.scaffold_version.as_ref().map(|v| format!(", version {v} ran"));
        let options: String = options.chain(version).collect();
        format!("{} ({}{options})", self.agent, self.action)
    }

    fn cell_words(&self) -> String {
        format!(
            "{} on {}, {} h, {}, repeat {}, experiment {}",
            self.benchmark,
            self.model,
            self.hours,
            count(self.gpus as usize, "gpu"),
            self.repeat,
            self.experiment
        )
    }

    fn evaluation_words(&self) -> String {
        let samples = self.limit.map_or("all samples".to_owned(), |n| count(n, "sample"));
        if self.script {
            return format!("edition {}, the benchmark's own evaluate.py, {samples}", self.edition);
        }
        // Verdicts cost money: what a language model grades is asked under the first seed alone.
        let asked = if self.grader.is_some() { 1 } else { self.seeds.len() };
        let seeds: Vec<String> = self.seeds.iter().take(asked).map(u64::to_string).collect();
        let grader = self.grader.as_ref().map(|model| format!(", graded by {model}"));
        format!(
            "edition {}, engine {}, seeds {}, {samples}, at most {} new tokens{}",
            self.edition,
            self.engine,
            seeds.join(" "),
            self.max_tokens,
            grader.unwrap_or_default()
        )
    }

    fn stage_words(&self) -> String {
        let words: Vec<String> =
            self.stages.iter().map(|s| format!("{} {}", s.stage, s.state)).collect();
        words.join(", ")
    }

    fn solve_words(&self) -> String {
        let used = clock(self.solve_seconds);
        let end = self.solve_end.as_ref().map(|end| format!(", {end}")).unwrap_or_default();
        format!(
            "{}, {used} of {} used{end}, sandbox {}, feedback {}",
            count(self.attempts as usize, "attempt"),
            clock(self.hours * 3600.0),
            self.sandbox,
            self.feedback.word()
        )
    }

    /// The final evaluation in more lines than one, then the others.
    fn measured(&self) -> Vec<String> {
        let (last, others): (Vec<_>, Vec<_>) =
            self.evaluations.iter().partition(|(id, _)| id == FINAL);
        let last = last.into_iter().flat_map(|(id, m)| in_brief(id, m));
        last.chain(others.into_iter().map(|(id, m)| in_a_line(id, m))).collect()
    }

    /// What costs a score first, then what differs from the base model, then what is as it should be.
    fn evidence_words(&self) -> Vec<String> {
        let mut words: Vec<&Evidence> = self.evidence.iter().collect();
        words.sort_by_key(|e| (e.mark.is_none(), !NOTES.contains(&e.check.as_str())));
        words
            .into_iter()
            .map(|e| format!("{}{}: {} ({})", mark(e.mark), e.check, e.fact, e.place))
            .collect()
    }

    fn verdict_words(&self) -> Vec<String> {
        self.verdicts.iter().map(|v| format!("{}{}: {}", mark(v.mark), v.judge, v.reason)).collect()
    }

    fn problem_words(&self) -> Vec<String> {
        self.problems.iter().map(|p| p.message.clone()).collect()
    }
}

/// At most [`MAX_LINES`] lines under one word.
fn group(word: &str, texts: &[String]) -> String {
    let more = texts.len().saturating_sub(MAX_LINES);
    let mut out = String::new();
    for (i, text) in texts.iter().take(MAX_LINES).enumerate() {
        let word = if i == 0 { word } else { "" };
        out.push_str(&format!("  {word:<11} {}", shown(text, MAX_SHOWN)));
        if more > 0 && i + 1 == MAX_LINES {
            out.push_str(&format!(" (and {more} more)"));
        }
        out.push('\n');
    }
    out
}

fn mark(mark: Option<Mark>) -> String {
    mark.map(|mark| format!("{} ", mark.symbol())).unwrap_or_default()
}

fn failure_words(stage: &StageSummary) -> Option<String> {
    let (fault, message) = (stage.fault.as_ref()?, stage.message.as_ref()?);
    if stage.state == "stopped" {
        return Some(format!("{} was stopped; the same command goes on", stage.stage));
    }
    let rerun = if stage.retryable? { "a rerun may succeed" } else { "a rerun will not help" };
    Some(format!("{}, the {fault}'s fault ({rerun}): {message}", stage.stage))
}

fn score_words(score: &ScoreSummary) -> String {
    let own = match (score.own_score, score.own_stderr) {
        (Some(own), Some(stderr)) => format!("{} % ± {}", percent(own), percent(stderr)),
        (Some(own), None) => format!("{} %", percent(own)),
        (None, _) => "none".to_owned(),
    };
    let counts = match score.counts {
        Counts::Own => own,
        Counts::Base => format!("{}the base model's counts; own: {own}", mark(score.mark)),
    };
    let submission = match &score.submission {
        Submission::None => "nothing submitted".to_owned(),
        Submission::Known(what) => format!("known model {what}"),
        Submission::Final => "final_model".to_owned(),
        Submission::Refused { .. } => "final_model, refused".to_owned(),
        Submission::Snapshot { seconds, fault } => {
            format!("snapshot of {}, as final_model was not whole: {fault}", clock(*seconds as f64))
        }
    };
    format!("{}: {counts} ({submission}): {}", score.edition, score.reason)
}
