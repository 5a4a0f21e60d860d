//! `POST /v1/evaluate` and `POST /v1/engine/release`.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::{Method, StatusCode};
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::events::{LINES, reply};
use super::request::{Asked, locate};
use super::work::{Job, work};
use super::{EvaluationSetup, Evaluator};
use crate::door::{Door, Refusal, Request, Response, json_reply};

/// `POST /v1/evaluate`: one evaluation at a time, its progress streamed as JSON lines.
pub struct EvaluationDoor {
    setup: Arc<EvaluationSetup>,
    turn: Arc<Semaphore>,
    replies: Arc<Semaphore>,
    over: CancellationToken,
}

/// Replies that may stand unread at one time, the one under way included: each holds its samples in
/// memory until its client reads them or counts as gone.
const REPLIES: usize = 4;

impl EvaluationDoor {
    /// A door as set up.
    pub fn new(setup: EvaluationSetup) -> Self {
        Self {
            setup: Arc::new(setup),
            turn: Arc::new(Semaphore::new(1)),
            replies: Arc::new(Semaphore::new(REPLIES)),
            over: CancellationToken::new(),
        }
    }

    /// The door that gives the warm engine up; it knows whether an evaluation is under way.
    pub fn release_door(&self) -> ReleaseDoor {
        ReleaseDoor { evaluator: Arc::clone(&self.setup.evaluator), turn: Arc::clone(&self.turn) }
    }

    /// Whether an evaluation is under way, or being prepared.
    pub fn is_busy(&self) -> bool {
        self.turn.available_permits() == 0
    }

    /// Cancels the evaluation that is under way, lets no other begin, and returns when it has ended:
    /// from then on nothing reads or writes snapshots through this door.
    pub async fn close(&self) {
        self.over.cancel();
        // The turn is never given back, so nobody begins after this.
        if let Ok(permit) = self.turn.acquire().await {
            permit.forget();
        }
        self.turn.close();
    }

    fn begin(&self, request: &Request) -> Result<Response, Refusal> {
        Refusal::unless_method(request, Method::POST)?;
        let asked = Asked::parse(request.body())?;
        let place = locate(&self.setup, &asked.model_path)?;
        let turn = Arc::clone(&self.turn).try_acquire_owned();
        let Some(turn) = turn.ok().filter(|_| !self.over.is_cancelled()) else {
            return Err(self.busy());
        };
        let Ok(unread) = Arc::clone(&self.replies).try_acquire_owned() else {
            let message = "the replies to earlier evaluations have not been read";
            let hint = "read them, or end the programs that started them";
            return Err(Refusal::new(StatusCode::CONFLICT, "busy", message, hint));
        };
        let (lines, receiver) = mpsc::channel(LINES);
        // Two clocks end it: the client's going (the guard in the reply) and the run's end.
        let cancel = self.over.child_token();
        let gone = cancel.clone().drop_guard();
        let accepted = json!({
            "event": "accepted", "model_path": asked.model_path, "limit": asked.limit,
            "feedback": self.setup.feedback, "notes": asked.notes(),
        });
        let Ok(last) = lines.clone().try_reserve_owned() else { return Err(self.busy()) };
        let _ = lines.try_send(accepted);
        let setup = Arc::clone(&self.setup);
        tokio::spawn(work(Job { setup, asked, place, turn, lines, last, cancel }));
        Ok(reply(receiver, self.setup.keep_alive, (gone, unread)))
    }

    fn busy(&self) -> Refusal {
        if self.over.is_cancelled() {
            let message = "the run has ended, there are no further evaluations";
            return Refusal::new(StatusCode::CONFLICT, "over", message, "nothing more can be done");
        }
        let message = "an evaluation is under way, and there is one at a time";
        let hint = "wait for it, or end the program that started it";
        Refusal::new(StatusCode::CONFLICT, "busy", message, hint)
    }
}

impl Door for EvaluationDoor {
    fn path(&self) -> &str {
        "/v1/evaluate"
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Response> {
        async move { self.begin(&request).unwrap_or_else(Response::from) }.boxed()
    }
}

/// `POST /v1/engine/release`: gives the warm engine up, so that the agent has its memory.
pub struct ReleaseDoor {
    evaluator: Arc<dyn Evaluator>,
    turn: Arc<Semaphore>,
}

impl Door for ReleaseDoor {
    fn path(&self) -> &str {
        "/v1/engine/release"
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Response> {
        async move {
            if let Err(refusal) = Refusal::unless_method(&request, Method::POST) {
                return refusal.into();
            }
            // Holding the turn keeps an evaluation from starting on an engine that is going away.
            let Ok(_turn) = self.turn.try_acquire() else {
                let message = "an evaluation is under way and uses the engine";
                let hint = "wait for it, or end the program that started it";
                return Refusal::new(StatusCode::CONFLICT, "busy", message, hint).into();
            };
            self.evaluator.release().await;
            json_reply(StatusCode::OK, &json!({"event": "released"}))
        }
        .boxed()
    }
}
