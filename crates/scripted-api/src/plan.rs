//! A script as a JSON file, for trials by hand and for shell scripts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::fault::Fault;
use crate::script::{Script, Turn};
use crate::server::ScriptedApi;

/// Why a plan is not played.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file could not be read.
    #[error("cannot read the plan {path:?}: {source}\nhint: give a JSON file that can be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no plan.
    #[error(
        "cannot take {path:?} for a plan: {source}\nhint: see `scripted-api --help` for its form"
    )]
    Form {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A fault has no such name.
    #[error("no fault is called {0:?}\nhint: see `scripted-api --help` for their names")]
    Fault(String),
    /// The port cannot be had.
    #[error(
        "cannot listen on port {port} of loopback: {source}\nhint: give another --port, or 0 for any"
    )]
    Port {
        /// The port.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
}

/// What a file says of a script.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// The key that requests must have.
    key: Option<String>,
    /// The models that are listed.
    models: Vec<String>,
    /// The turns.
    turns: Vec<PlannedTurn>,
    /// Whether the last turn is played again and again.
    repeat_last: bool,
    /// Failures that do not depend on turns.
    faults: Vec<PlannedFault>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PlannedTurn {
    think: Option<String>,
    say: Option<String>,
    run: Vec<String>,
    before_ms: u64,
    between_ms: u64,
    fault: Option<FaultForm>,
    /// How often the fault comes before the turn does; always without.
    times: Option<usize>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlannedFault {
    fault: FaultForm,
    next: Option<usize>,
    from_turn: Option<usize>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FaultForm {
    name: String,
    status: Option<u16>,
    kind: String,
    message: String,
    retry_after: Option<u64>,
    seconds: Option<u64>,
}

impl FaultForm {
    fn fault(&self) -> Result<Fault, PlanError> {
        if let Some(status) = self.status {
            return Ok(Fault::Refused(status, self.kind.clone(), self.message.clone()));
        }
        let fault = Fault::named(&self.name).ok_or_else(|| PlanError::Fault(self.name.clone()))?;
        Ok(match (fault, self.seconds) {
            (Fault::RateLimited(_), _) => Fault::RateLimited(self.retry_after),
            (Fault::Hang(_), Some(seconds)) => Fault::Hang(Duration::from_secs(seconds)),
            (fault, _) => fault,
        })
    }
}

impl PlannedTurn {
    fn turn(&self) -> Result<Turn, PlanError> {
        let say = self.say.clone().unwrap_or_default();
        let mut turn = match self.run.as_slice() {
            [] => Turn::text(say),
            commands => {
                let run = match commands {
                    [command] => Turn::run(command),
                    commands => Turn::run_all(commands),
                };
                if self.say.is_some() { run.saying(say) } else { run }
            }
        };
        if let Some(thought) = &self.think {
            turn = turn.thinking(thought);
        }
        if let Some(form) = &self.fault {
            let fault = form.fault()?;
            turn = match self.times {
                Some(times) => turn.failing(times, fault),
                None => Turn::Fault(fault),
            };
        }
        let (before, between) = (self.before_ms, self.between_ms);
        Ok(turn.slowly(Duration::from_millis(before), Duration::from_millis(between)))
    }
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// When the file cannot be read, or is no plan.
    pub fn read(path: &Path) -> Result<Self, PlanError> {
        let at = |source| PlanError::Read { path: path.to_owned(), source };
        let text = std::fs::read(path).map_err(at)?;
        let form = |source| PlanError::Form { path: path.to_owned(), source };
        serde_json::from_slice(&text).map_err(form)
    }

    /// Starts a server that plays it.
    ///
    /// # Errors
    /// When a fault has no such name, or the port cannot be had.
    pub fn start(&self, port: u16) -> Result<ScriptedApi, PlanError> {
        let turns: Vec<Turn> =
            self.turns.iter().map(PlannedTurn::turn).collect::<Result<_, _>>()?;
        let repeat = self.repeat_last;
        let script = Script::by(move |c| {
            let last = turns.last().filter(|_| repeat);
            turns.get(c.turn).or(last).cloned().unwrap_or_else(|| Turn::text("done"))
        });
        let mut faults = Vec::new();
        for planned in &self.faults {
            faults.push((planned, planned.fault.fault()?));
        }
        let at = |source| PlanError::Port { port, source };
        let api = ScriptedApi::start_at(port, script).map_err(at)?;
        if let Some(key) = &self.key {
            api.expect_key(key);
        }
        if !self.models.is_empty() {
            api.list_models(self.models.clone());
        }
        for (planned, fault) in faults {
            match (planned.next, planned.from_turn) {
                (Some(times), _) => api.fail_next(times, fault),
                (None, Some(turn)) => api.fail_from_turn(turn, fault),
                (None, None) => api.fail(fault),
            }
        }
        Ok(api)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_becomes_turns_and_faults() {
        let plan: Plan = serde_json::from_str(
            r#"{"turns": [{"think": "hm", "say": "first", "run": ["ls"]},
                {"say": "x", "fault": {"name": "rate-limited", "retry_after": 3}, "times": 2}]}"#,
        )
        .unwrap();
        let (zero, turn) = (Duration::ZERO, |i: usize| plan.turns[i].turn().unwrap());
        let first = Turn::run("ls").saying("first").thinking("hm").slowly(zero, zero);
        assert_eq!(turn(0), first);
        let second = Turn::text("x").failing(2, Fault::RateLimited(Some(3))).slowly(zero, zero);
        assert_eq!(turn(1), second);
        let wrong: Plan =
            serde_json::from_str(r#"{"faults": [{"fault": {"name": "gone"}}]}"#).unwrap();
        let error = wrong.start(0).unwrap_err().to_string();
        assert!(error.starts_with("no fault is called \"gone\"\nhint: "), "{error}");
        assert!(serde_json::from_str::<Plan>(r#"{"turn": []}"#).is_err());
    }
}
