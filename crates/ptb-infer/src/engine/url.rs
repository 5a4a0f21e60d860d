//! A server that somebody else runs.

use std::time::Duration;

use futures::future::BoxFuture;

use super::{Engine, Isolation, Running, ServeSpec, StartError};
use crate::client::{Client, Endpoint, InferError};

/// The environment variable that holds a server's key.
const KEY: &str = "PTB_ENGINE_KEY";

/// Time for the first question.
const CHECK_TIME: Duration = Duration::from_secs(20);

/// An endpoint given by its address; `URL?chat` says that it takes messages alone. The specification's
/// directory is not looked at: what the server holds is its owner's word.
#[derive(Debug, Clone)]
pub struct Url {
    endpoint: Endpoint,
    chat_only: bool,
    model: Option<String>,
    key: Option<String>,
}

impl Url {
    /// Reads `http(s)://HOST/v1`, `unix:PATH`, each with or without `?chat`.
    ///
    /// # Errors
    /// When the text is none of these.
    pub fn parse(text: &str) -> Result<Self, crate::EndpointError> {
        let (address, chat_only) = match text.strip_suffix("?chat") {
            Some(address) => (address, true),
            None => (text, false),
        };
        Ok(Self { endpoint: address.parse()?, chat_only, model: None, key: None })
    }

    /// Names the model; otherwise the server's first one is asked.
    #[must_use]
    pub fn with_model(mut self, model: Option<String>) -> Self {
        self.model = model;
        self
    }

    /// Sends a key with every request; without one, what `PTB_ENGINE_KEY` holds is sent, if anything.
    #[must_use]
    pub fn with_key(mut self, key: Option<String>) -> Self {
        self.key = key;
        self
    }

    async fn connect(&self) -> Result<Running, StartError> {
        let given = || std::env::var(KEY).ok().map(|key| key.trim().to_owned());
        let key = self.key.clone().or_else(given).filter(|key| !key.is_empty());
        let client = Client::new(self.endpoint.clone(), CHECK_TIME)?.with_key(key.clone());
        // Some servers answer one question and not the other; one of the two must be answered.
        let names = match client.models().await {
            Ok(names) => names,
            Err(e @ InferError::Rejected { status: 401 | 403, .. }) => return Err(e.into()),
            Err(e) => client.health().await.map(|()| Vec::new()).map_err(|_| e)?,
        };
        Ok(Running {
            endpoint: self.endpoint.clone(),
            model: self.model.clone().or_else(|| names.into_iter().next()),
            key,
            chat_only: self.chat_only,
            process: None,
            isolation: Isolation::of("remote"),
            launched: None,
            connections: None,
        })
    }
}

impl Engine for Url {
    fn name(&self) -> &str {
        "url"
    }

    fn start<'a>(&'a self, _spec: &'a ServeSpec) -> BoxFuture<'a, Result<Running, StartError>> {
        Box::pin(self.connect())
    }
}
