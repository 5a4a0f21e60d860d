//! The model API: what a scaffold behind the wall takes for its provider.
//!
//! A scaffold speaks plain HTTP to a port of its empty network namespace, with a dummy key. The listener comes from
//! there; what is behind it is here: each request is looked at ([`ptb_llm::protocol`] knows the wire formats), held
//! against what is allowed and what may be spent, given the real key and sent to the one upstream; the answer goes
//! back chunk by chunk, while its usage is read and everything is kept for the record.
//!
//! The order of a request: path (`server`), body within its bounds, model and reach (`admit`, `tools`), limits
//! (`limits`), the record's first line (`record`), the provider (`forward`), the answer (`exchange`), books and the
//! record's second line. What is slow (hashing, compression, fingerprints) is done by the record's own thread.
//!
//! It must never: send a key or a request anywhere but to the upstream, let a header or a query key of the client say
//! who pays, follow a redirect, pass on what is not on record, or take an unknown price for nothing.

mod admit;
mod bytes_room;
mod estimate;
mod exchange;
mod fingerprint;
mod forward;
mod guard;
mod headers;
mod limits;
mod lines;
mod record;
mod reply;
mod server;
mod service;
mod setup;
mod store;
mod tools;
mod totals;
mod upstream;

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use fingerprint::Foreign;
pub use forward::Probe;
pub use limits::LimitReached;
pub use record::Mask;
pub use service::{Outage, Service};
pub use setup::{ApiBounds, Credential, Limits, ModelApiSetup, Models, ServerTools, Used};
pub use totals::{ApiTotals, ModelTotals};

use crate::GatewayError;
use server::Hall;

/// The model API.
pub struct ModelApi;

/// What moves through a model API.
#[derive(Debug, Clone)]
pub struct Traffic(Arc<AtomicU64>);

impl Traffic {
    /// Bytes of requests' and answers' bodies that came so far: whoever asks twice sees whether anything moves.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A model API that serves. Dropping it ends it, but whoever wants the record's end on disk calls
/// [`RunningModelApi::stop`].
pub struct RunningModelApi {
    address: SocketAddr,
    hall: Arc<Hall>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    stop: DropGuard,
}

impl ModelApi {
    /// Serves at `listener`, which may belong to another network namespace, until `shutdown`. Must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    /// When the listener, the upstream's address, the connections to it, the prices or the record's files are not as
    /// they must be.
    pub fn serve(
        listener: TcpListener,
        setup: ModelApiSetup,
        shutdown: &CancellationToken,
    ) -> Result<RunningModelApi, GatewayError> {
        let (listener, address) = ready(listener)?;
        let stop = shutdown.child_token();
        let hall = Arc::new(Hall::new(setup, stop.clone())?);
        let tasks = Mutex::new(vec![tokio::spawn(server::receive(listener, Arc::clone(&hall)))]);
        Ok(RunningModelApi { address, hall, tasks, stop: stop.drop_guard() })
    }
}

fn ready(listener: TcpListener) -> Result<(tokio::net::TcpListener, SocketAddr), GatewayError> {
    let ready = || {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((tokio::net::TcpListener::from_std(listener)?, address))
    };
    ready().map_err(|source| GatewayError::Listener { source })
}

impl RunningModelApi {
    /// Serves at one more listener: that of the scaffold's next launch, which has a network of its own. Books, limits
    /// and record go on. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the listener is not as it must be.
    pub fn also(&self, listener: TcpListener) -> Result<(), GatewayError> {
        let (listener, _) = ready(listener)?;
        let task = tokio::spawn(server::receive(listener, Arc::clone(&self.hall)));
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
        Ok(())
    }

    /// Where it listened first, in the listener's network namespace.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was asked and used so far.
    pub fn totals(&self) -> ApiTotals {
        self.hall.ledger.totals()
    }

    /// The limit that refused the agent's last requests, where one did.
    pub fn limit_reached(&self) -> Option<LimitReached> {
        self.hall.ledger.reached()
    }

    /// What moves through it, for whoever watches from elsewhere.
    pub fn traffic(&self) -> Traffic {
        Traffic(Arc::clone(&self.hall.moved))
    }

    /// Whether the provider serves: the present state, and each change of it.
    pub fn service(&self) -> watch::Receiver<Service> {
        self.hall.service.watch()
    }

    /// The times without service so far.
    pub fn outages(&self) -> Vec<Outage> {
        self.hall.service.outages()
    }

    /// Asks the provider for its models, which costs nothing: whether it can be reached and lets the key in. When it
    /// does, an outage or a refused key ends; whether there is credit again, only a paid request can tell.
    pub async fn probe(&self) -> Probe {
        forward::probe(&self.hall).await
    }

    /// Ends it: connections are cut, what they used is settled, the record is written to its end.
    pub async fn stop(self) -> ApiTotals {
        drop(self.stop);
        for task in self.tasks.into_inner().unwrap_or_else(PoisonError::into_inner) {
            if let Err(e) = task.await {
                tracing::error!("the model API ended badly: {e}");
            }
        }
        let hall = Arc::clone(&self.hall);
        if let Err(e) = tokio::task::spawn_blocking(move || hall.recorder.close()).await {
            tracing::error!("the record of the model API ended badly: {e}");
        }
        self.hall.ledger.totals()
    }
}
