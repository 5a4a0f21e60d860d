//! How often an engine is asked for one answer: failures that may pass are waited out, others are told at once.

use std::time::Duration;

use ptb_infer::{Completion, InferError};

use crate::ask::Asking;
use crate::error::EvalError;

/// Tries of one request before its pass gives up.
const TRIES: u32 = 8;
/// The same while the server has never answered and what it says is not that it is busy: an address that is wrong
/// is told within seconds.
const TRIES_OF_A_STRANGER: u32 = 4;
/// The same of a request that took all its time; a stranger is not given that time again.
const TRIES_IN_TIME: u32 = 2;
/// First and longest pause between two tries.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Asking<'_> {
    /// Makes a request again while its failure may pass, at most so often, in the place that the level gives it.
    /// `most` bounds the time of one try further than the client does.
    pub(crate) async fn patiently<F: Future<Output = Result<Completion, EvalError>>>(
        &self,
        most: Option<Duration>,
        request: impl Fn() -> F,
    ) -> Result<Completion, EvalError> {
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let place = self.level.enter().await;
            let answer = tokio::select! {
                () = self.cancel.cancelled() => return Err(EvalError::Cancelled),
                hung = self.silence.hung(&self.client) => return Err(hung.into()),
                answer = self.in_time(most, request()) => answer,
            };
            if is_sign_of_life(&answer) {
                self.silence.heard();
            }
            let failure = match answer {
                Err(EvalError::Engine(e)) if attempt < self.tries(&e) && self.engine.alive() => e,
                Ok(completion) => {
                    place.answered();
                    return Ok(completion);
                }
                Err(other) => return Err(other),
            };
            self.silence.failed(&failure);
            let wait = failure.retry_after().map(|wait| wait.min(LONGEST_PAUSE));
            match is_overload(&failure) {
                true => place.overloaded(wait),
                false => drop(place),
            }
            tokio::select! {
                () = self.cancel.cancelled() => return Err(EvalError::Cancelled),
                () = tokio::time::sleep(wait.unwrap_or(pause)) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(EvalError::Cancelled)
    }

    async fn in_time(
        &self,
        most: Option<Duration>,
        request: impl Future<Output = Result<Completion, EvalError>>,
    ) -> Result<Completion, EvalError> {
        let Some(after) = most else { return request.await };
        let endpoint = self.client.endpoint().to_string();
        let late = |_| InferError::TimedOut { endpoint, after };
        tokio::time::timeout(after, request).await.map_err(late)?
    }

    /// How often a request that failed so is made in all.
    fn tries(&self, e: &InferError) -> u32 {
        let known = self.level.has_answered();
        match e {
            InferError::Unavailable { status: Some(408 | 425 | 429 | 502..=504), .. } => TRIES,
            InferError::Unavailable { .. } | InferError::Malformed { .. } if known => TRIES,
            InferError::Unavailable { .. } | InferError::Malformed { .. } => TRIES_OF_A_STRANGER,
            InferError::TimedOut { .. } if known => TRIES_IN_TIME,
            InferError::TimedOut { .. }
            | InferError::Redirected { .. }
            | InferError::Rejected { .. }
            | InferError::ModelFault { .. } => 1,
        }
    }
}

/// Whether the server has too much to do; one that does not answer at all may have.
fn is_overload(e: &InferError) -> bool {
    let busy = matches!(e, InferError::Unavailable { status: None | Some(429 | 503), .. });
    busy || matches!(e, InferError::TimedOut { .. })
}

/// Whether somebody answered, if only to refuse.
fn is_sign_of_life(answer: &Result<Completion, EvalError>) -> bool {
    let Err(EvalError::Engine(e)) = answer else { return answer.is_ok() };
    !matches!(e, InferError::TimedOut { .. } | InferError::Unavailable { status: None, .. })
}
