//! Sends one call until there is a reply, valid or not: what fails on its way is sent again.

use std::sync::PoisonError;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::fault::Fault;
use super::outage::Then;
use super::reply::Got;
use super::{Client, Tell, words};
use crate::{Call, LlmError};

/// How often a request is sent whose failure is not that the server is busy, while others are answered.
const TRIES_ALONE: u32 = 8;
/// Bytes of a prompt beside what is said: roles and marks.
const BYTES_OF_MESSAGE: usize = 32;

/// What became of one call's requests so far.
struct Trials {
    sent: u32,
    /// Failures that were not the server's being busy, nor in an outage.
    failed: u32,
    /// What the last failure gave ([`Then::Alone`]).
    last: Option<u64>,
    /// When the first of a row of failures was, outages left out.
    since: Option<Instant>,
    pause: Duration,
}

impl Client {
    /// Sends a call until there is a reply.
    pub(super) async fn send(&self, call: &Call, tell: Tell<'_>) -> Result<Got, LlmError> {
        let pause = self.options.first_pause;
        let mut trials = Trials { sent: 0, failed: 0, last: None, since: None, pause };
        loop {
            let place = self.level.enter().await;
            let pass = self.outage.enter().await;
            let money = self.purse.reserve(self.most(call)).await?;
            if trials.sent > 0 {
                self.count().retries += 1;
            }
            trials.sent += 1;
            let fault = match self.exchange(call, tell).await {
                Ok(got) => {
                    if let Some(outage) = pass.answered() {
                        tell(format!("{} answers again after {}", self.who(), words(outage)));
                    }
                    place.answered();
                    let cost = got.usage.and_then(|usage| self.cost(usage));
                    money.pay(cost.filter(|_| got.usage.is_some()));
                    self.count().usage += got.usage.unwrap_or_default();
                    return Ok(got);
                }
                Err(fault) => fault,
            };
            drop(money);
            let Fault::Passing { why, overload, wait } = fault else {
                // It is there, and means what it says.
                pass.answered();
                return self.meant(fault);
            };
            tracing::debug!("{}: {why}", self.who());
            let then = pass.failed(wait, trials.last);
            if let Then::Alone(_) = then
                && overload
            {
                place.overloaded(wait.map(|wait| self.outage.wished(wait)));
            } else {
                drop(place);
            }
            self.wait_out(then, &mut trials, &why, overload, wait, tell).await?;
        }
    }

    /// After a failure that may pass: returns when it is time to try again.
    async fn wait_out(
        &self,
        then: Then,
        trials: &mut Trials,
        why: &str,
        overload: bool,
        wait: Option<Duration>,
        tell: Tell<'_>,
    ) -> Result<(), LlmError> {
        let role = self.options.role.clone();
        let (host, why) = (self.wire.host.clone(), why.to_owned());
        match then {
            Then::Over(waited) => {
                Err(self.end(LlmError::Down { role, host, why, waited_s: waited.as_secs() }))
            }
            Then::Out { tell: None } => Ok(()),
            Then::Out { tell: Some(pause) } => {
                let patience = words(self.options.patience);
                let stranger = match self.level.has_answered() {
                    true => "",
                    false => "; it has never answered yet, so check its address",
                };
                tell(format!(
                    "{} does not answer ({why}); asked again in {}; given up after {patience} without an answer{stranger}",
                    self.who(),
                    words(pause)
                ));
                // What failed in an outage is no sign of a request that cannot be borne.
                (trials.since, trials.failed) = (None, 0);
                Ok(())
            }
            Then::Alone(answers) => {
                let since = *trials.since.get_or_insert_with(Instant::now);
                trials.last = Some(answers);
                trials.failed += u32::from(!overload);
                if trials.failed >= TRIES_ALONE || since.elapsed() >= self.options.patience {
                    return Err(LlmError::Failing { role, host, why, tries: trials.sent });
                }
                let pause = self.outage.jittered(trials.pause);
                trials.pause = (trials.pause * 2).min(self.options.longest_pause);
                tokio::time::sleep(wait.map_or(pause, |wait| self.outage.wished(wait))).await;
                Ok(())
            }
        }
    }

    /// One request, in the server's dialect; where it rejects that, in another.
    async fn exchange(&self, call: &Call, tell: Tell<'_>) -> Result<Got, Fault> {
        let known = *self.dialect.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut dialect, mut rejection) = (known, None);
        loop {
            self.count().requests += 1;
            match self.post(&dialect.body(&self.model.name, call)).await {
                Err(Fault::Rejected { status, message }) => {
                    let other =
                        dialect.other(call, &message).filter(|_| matches!(status, 400 | 422));
                    // If no other way is taken either, the first rejection is the one that says why.
                    let first = rejection.get_or_insert(Fault::Rejected { status, message });
                    match other {
                        Some(other) => dialect = other,
                        None => return Err(first.clone()),
                    }
                }
                Ok(got) => {
                    if dialect != known {
                        self.adopt(dialect, rejection, tell);
                    }
                    return Ok(got);
                }
                Err(fault) => return Err(fault),
            }
        }
    }

    async fn post(&self, body: &Value) -> Result<Got, Fault> {
        let answer = self.wire.post(body).await;
        match answer {
            Ok(answer) => Got::read(&answer)
                .map_err(|why| Fault::passing(format!("its answer is no chat completion: {why}"))),
            // A reply that is none.
            Err(Fault::Filtered { message }) => Ok(Got::filtered(&message)),
            Err(fault) => Err(fault),
        }
    }

    /// A dialect was answered: it is the server's from now on. Told once.
    fn adopt(&self, dialect: super::Dialect, rejection: Option<Fault>, tell: Tell<'_>) {
        let changes = {
            let mut known = self.dialect.lock().unwrap_or_else(PoisonError::into_inner);
            let next = known.with(dialect);
            let changes = known.changes(next);
            *known = next;
            changes
        };
        let why = match rejection {
            Some(Fault::Rejected { message, .. }) => format!(" ({message})"),
            _ => String::new(),
        };
        for change in changes {
            tell(format!("{} {change}{why}", self.who()));
        }
    }

    /// Asks the server for its list of models, once and for ten seconds at most: what it costs nothing to learn before
    /// hours of work. A server that is away, or has no such list, may yet answer when it is asked in earnest.
    ///
    /// # Errors
    /// [`LlmError::Refused`] for a key that it does not let in (status 401), [`LlmError::Credit`] for an account without
    /// credit; [`LlmError::Failing`] where nobody answers.
    pub async fn knock(&self) -> Result<(), LlmError> {
        let fault = match self.wire.knock().await {
            Ok(())
            | Err(Fault::Rejected { .. } | Fault::Filtered { .. } | Fault::Redirected { .. }) => {
                return Ok(());
            }
            // Some gateways keep the list to themselves.
            Err(Fault::Refused { status: 403, .. }) => return Ok(()),
            Err(fault) => fault,
        };
        self.meant(fault).map(drop)
    }

    /// What is done about a server that means what it says.
    fn meant(&self, fault: Fault) -> Result<Got, LlmError> {
        let (role, host) = (self.options.role.clone(), self.wire.host.clone());
        let e = match fault {
            // A key that has opened the server before: it is this request that some filter on the way forbids.
            Fault::Refused { status: status @ 403, message } if self.level.has_answered() => {
                return Err(LlmError::Rejected { role, host, status, message });
            }
            Fault::Refused { status, message } => {
                let (key_env, keyless) = (self.options.key_env.clone(), self.wire.keyless());
                LlmError::Refused { role, host, status, message, key_env, keyless }
            }
            Fault::Credit { status, message } => LlmError::Credit { host, status, message },
            Fault::Redirected { status, to } => LlmError::Redirected { role, host, status, to },
            Fault::Rejected { status, message } => {
                return Err(LlmError::Rejected { role, host, status, message });
            }
            // Both are dealt with before.
            Fault::Filtered { message } => return Ok(Got::filtered(&message)),
            Fault::Passing { why, .. } => {
                return Err(LlmError::Failing { role, host, why, tries: 1 });
            }
        };
        Err(self.end(e))
    }

    /// The most that a request can cost, in US dollars: no token is shorter than a byte.
    fn most(&self, call: &Call) -> f64 {
        let Some(price) = self.model.price else { return 0.0 };
        let bytes: usize = call.messages.iter().map(|m| m.content.len() + BYTES_OF_MESSAGE).sum();
        (bytes as f64 * price.input + f64::from(call.max_tokens) * price.output) / 1e6
    }

    fn who(&self) -> String {
        format!("the {} at {}", self.options.role, self.wire.host)
    }
}
