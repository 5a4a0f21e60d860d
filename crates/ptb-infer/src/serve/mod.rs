//! The built-in engine's server: OpenAI's completions, chat, models, and health.
//!
//! It runs in a process of its own, so that a model's memory and faults end with it. Requests are bounded
//! in size, in time to arrive and in number; what cannot be served is refused at once with a reason.

mod answer;
mod body;
mod life_line;
mod load;
mod routes;

use std::future::{Future, IntoFuture};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::net::{TcpListener, UnixListener};

pub use life_line::tie_to_stdin;
pub use load::ServeOptions;

use load::load;
use routes::{Service, router};

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// Loopback TCP; port 0 takes a free one.
    Port(u16),
    /// A Unix socket that only this user may open; an old socket file of this name is replaced.
    Socket(PathBuf),
}

/// A chat to render into a prompt.
#[derive(Debug, Clone, Default)]
pub struct ChatRequest {
    /// OpenAI messages.
    pub messages: Vec<Value>,
    /// OpenAI tool definitions.
    pub tools: Vec<Value>,
    /// Further arguments of the template (`enable_thinking` and the like).
    pub kwargs: Map<String, Value>,
}

/// Renders chats; given by the caller, because templates belong to the base model and not to the
/// directory that is served.
pub trait ChatRenderer: Send + Sync {
    /// The prompt's text, ready to be encoded without further special tokens.
    ///
    /// # Errors
    /// What is wrong with the request, for the client.
    fn render(&self, request: &ChatRequest) -> Result<String, String>;
}

/// Why the server could not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The model is at fault.
    #[error(transparent)]
    Model(#[from] ptb_model::ModelError),
    /// The model needs more memory than the machine has left.
    #[error(
        "failed to load {}: it needs {needed} MiB of memory and {available} MiB are available\n\
         hint: free memory, or serve the model on another machine", .model.display()
    )]
    Memory {
        /// The model's directory.
        model: PathBuf,
        /// MiB of weights and cache.
        needed: u64,
        /// MiB the system reports as available.
        available: u64,
    },
    /// The address cannot be listened at.
    #[error("failed to listen at {at}: {source}\nhint: choose another port or socket path")]
    Listen {
        /// The address.
        at: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Threads could not be started or the server broke.
    #[error("failed to run the server: {0}\nhint: check the limits on threads and open files")]
    Run(String),
}

/// Loads the model and serves it until `shutdown` resolves; `ready` is called with the endpoint once
/// requests are answered.
///
/// # Errors
/// When the model cannot be loaded or the address cannot be used.
pub async fn serve(
    options: ServeOptions,
    listen: Listen,
    renderer: Option<Arc<dyn ChatRenderer>>,
    ready: impl FnOnce(&crate::Endpoint) + Send,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let at = match &listen {
        Listen::Port(port) => format!("127.0.0.1:{port}"),
        Listen::Socket(path) => path.display().to_string(),
    };
    let failed = |source| ServeError::Listen { at: at.clone(), source };
    let model = options.model_name();
    let (bound, limits) = (bind(&listen).await.map_err(failed)?, options.clone());
    let loaded = tokio::task::spawn_blocking(move || load(&limits))
        .await
        .map_err(|e| ServeError::Run(e.to_string()))??;
    let scheduler = loaded.scheduler.clone();
    let service = Service::new(loaded, model, renderer, &options);
    let app = router(Arc::new(service));
    let ended = async move { scheduler.ended().await };
    match bound {
        Bound::Tcp(listener) => {
            let at = listener.local_addr().map_err(failed)?;
            ready(&crate::Endpoint::Http(format!("http://{at}/v1")));
            until(axum::serve(listener, app).with_graceful_shutdown(shutdown), ended).await
        }
        Bound::Unix(listener, path) => {
            ready(&crate::Endpoint::Unix(path.clone()));
            let served = axum::serve(listener, app).with_graceful_shutdown(shutdown);
            let result = until(served, ended).await;
            // The file may already have gone with its directory.
            let _ = std::fs::remove_file(path);
            result
        }
    }
}

/// Serves until asked to end; a server without its batch would refuse everybody for ever.
async fn until(
    served: impl IntoFuture<Output = std::io::Result<()>>,
    ended: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    tokio::select! {
        result = served.into_future() => result.map_err(|e| ServeError::Run(e.to_string())),
        () = ended => Err(ServeError::Run("the batch has ended by a fault".to_owned())),
    }
}

enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

async fn bind(listen: &Listen) -> std::io::Result<Bound> {
    match listen {
        Listen::Port(port) => Ok(Bound::Tcp(TcpListener::bind(("127.0.0.1", *port)).await?)),
        Listen::Socket(path) => {
            use std::os::unix::fs::{FileTypeExt, PermissionsExt};
            let old = std::fs::symlink_metadata(path);
            if old.is_ok_and(|m| m.file_type().is_socket()) {
                std::fs::remove_file(path)?;
            }
            let listener = UnixListener::bind(path)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
            Ok(Bound::Unix(listener, path.clone()))
        }
    }
}
