//! The clock door: how much of the budget is left, from the harness's own clock.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::{Method, StatusCode};
use serde::Serialize;

use crate::door::{Door, Refusal, Request, Response, json_reply};

/// Where the budget stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClockReading {
    /// The whole budget, in hours.
    pub hours: f64,
    /// Seconds of it that are used.
    pub consumed_seconds: f64,
}

/// How the harness's clock is read.
pub type ReadClock = Arc<dyn Fn() -> ClockReading + Send + Sync>;

/// `GET /v1/clock`.
pub struct ClockDoor {
    read: ReadClock,
}

/// What the door tells. Seconds are whole ones, rounded down, so that nobody is promised time that is
/// not there.
#[derive(Debug, PartialEq, Serialize)]
struct Told {
    hours: f64,
    consumed_seconds: u64,
    remaining_seconds: u64,
    remaining: String,
}

impl From<ClockReading> for Told {
    fn from(reading: ClockReading) -> Self {
        let remaining = (reading.hours * 3600.0 - reading.consumed_seconds).max(0.0) as u64;
        Self {
            hours: reading.hours,
            consumed_seconds: reading.consumed_seconds.max(0.0) as u64,
            remaining_seconds: remaining,
            remaining: format!("{}:{:02}", remaining / 3600, remaining / 60 % 60),
        }
    }
}

impl ClockDoor {
    /// A door onto the clock that `read` reads.
    pub fn new(read: ReadClock) -> Self {
        Self { read }
    }
}

impl Door for ClockDoor {
    fn path(&self) -> &str {
        "/v1/clock"
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Response> {
        async move {
            match Refusal::unless_method(&request, Method::GET) {
                Ok(()) => json_reply(StatusCode::OK, &Told::from((self.read)())),
                Err(refusal) => refusal.into(),
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_is_rounded_down_and_never_negative() {
        let told = |hours, consumed_seconds| {
            let told = Told::from(ClockReading { hours, consumed_seconds });
            (told.consumed_seconds, told.remaining_seconds, told.remaining)
        };
        assert_eq!(told(10.0, 0.0), (0, 36_000, "10:00".to_owned()));
        assert_eq!(told(1.5, 0.4), (0, 5_399, "1:29".to_owned()));
        assert_eq!(told(0.02, 13.0), (13, 59, "0:00".to_owned()));
        assert_eq!(told(0.5, 9_999.0), (9_999, 0, "0:00".to_owned()));
    }
}
