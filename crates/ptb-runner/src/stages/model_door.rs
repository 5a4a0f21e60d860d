//! The agent's way to the model that drives it: a port of the inside, which the gateway serves.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ptb_agents::Connection;
use ptb_core::files::{read_bounded, write_whole};
use ptb_core::registry::{ApiProtocol, AuthHeader};
use ptb_core::run::{RunDir, StageFailure};
use ptb_gateway::{
    ApiBounds, ApiTotals, Credential, Handover, Limits, Mask, ModelApi, ModelApiSetup, Models,
    RunningModelApi, ServerTools, Traffic, Used,
};
use ptb_llm::protocol::Protocol;
use ptb_llm::{Key, Prices};
use tokio_util::sync::CancellationToken;

use super::blocking;
use crate::failure::harness;

/// The port inside; a network of its own has nobody else on it.
const PORT: u16 = 8377;
/// Name of the file with what was used.
const USAGE: &str = "usage.json";
/// Largest such file that is read.
const USAGE_BYTES: u64 = 64 << 20;

/// The model API of one attempt, over all its launches.
pub(super) struct ModelDoor {
    setup: ModelApiSetup,
    usage: PathBuf,
    api: Option<RunningModelApi>,
    traffic: Arc<OnceLock<Traffic>>,
    shutdown: CancellationToken,
    without_service: Duration,
    /// What was written last, while the agent worked.
    kept: Option<ApiTotals>,
}

/// The port of one launch.
pub(super) struct Port {
    /// Root of the API as the agent knows it.
    pub(super) url: String,
    /// What begins the agent's command, so that the port is made inside.
    pub(super) prefix: Vec<String>,
    listener: Listener,
}

enum Listener {
    Here(TcpListener),
    Brought(Handover),
}

impl Port {
    /// A port for a launch. Inside a network of its own it is made by `ptb-door`, which brings it to the folder of the
    /// doors; without one it is made here.
    pub(super) fn new(doors: &Path, own_network: bool) -> Result<Self, StageFailure> {
        if own_network {
            let listener = Listener::Brought(Handover::open(doors).map_err(harness)?);
            let prefix =
                ["ptb-door", "listen", &PORT.to_string(), "--"].map(str::to_owned).to_vec();
            return Ok(Self { url: format!("http://127.0.0.1:{PORT}"), prefix, listener });
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(harness)?;
        let url = format!("http://{}", listener.local_addr().map_err(harness)?);
        Ok(Self { url, prefix: Vec::new(), listener: Listener::Here(listener) })
    }
}

impl ModelDoor {
    /// What stands behind the port. `attempt` is the attempt's folder; what earlier attempts used counts towards limits.
    pub(super) fn new(
        (connection, key): (Connection, Key),
        (run, attempt): (&RunDir, &Path),
        (mask, covers_key): (Mask, bool),
    ) -> Result<Self, StageFailure> {
        let setup = ModelApiSetup {
            upstream: connection.upstream,
            protocols: connection.protocols.into_iter().map(protocol).collect(),
            credential: credential(connection.header, key),
            models: Models { main: connection.model, aux: connection.aux_models },
            limits: Limits {
                usd: connection.spend_limit,
                tokens: connection.token_limit,
                used: used(run, attempt),
            },
            server_tools: match connection.strip_tools {
                true => ServerTools::Strip,
                false => ServerTools::Allow,
            },
            prices: Prices::built_in().map_err(harness)?,
            record: attempt.join("api.jsonl.zst"),
            network: attempt.join("network.jsonl"),
            mask,
            covers_key,
            bounds: ApiBounds::default(),
        };
        let (usage, shutdown) = (attempt.join(USAGE), CancellationToken::new());
        let traffic = Arc::default();
        let without_service = Duration::ZERO;
        Ok(Self { setup, usage, api: None, traffic, shutdown, without_service, kept: None })
    }

    /// Serves a launch's port, as soon as it is there. Dropping the future before is fine.
    pub(super) async fn serve(&mut self, port: Port) -> Result<(), StageFailure> {
        let listener = match port.listener {
            Listener::Here(listener) => listener,
            Listener::Brought(handover) => handover.port().await.map_err(harness)?,
        };
        match &self.api {
            Some(api) => api.also(listener).map_err(harness),
            None => {
                let api = ModelApi::serve(listener, self.setup.clone(), &self.shutdown);
                let api = api.map_err(harness)?;
                // Nobody else sets it.
                let _ = self.traffic.set(api.traffic());
                self.api = Some(api);
                Ok(())
            }
        }
    }

    /// What moves through the API, once something was served.
    pub(super) fn traffic(&self) -> Arc<OnceLock<Traffic>> {
        Arc::clone(&self.traffic)
    }

    /// The API, once something was served.
    pub(super) fn api(&self) -> Option<&RunningModelApi> {
        self.api.as_ref()
    }

    /// So much time was not charged, because the provider did not serve.
    pub(super) fn went_without(&mut self, time: Duration) {
        self.without_service += time;
    }

    /// Writes down what was used so far, where that has changed. A disk that is full for a while must not end the agent.
    pub(super) async fn keep_books(&mut self) -> Result<(), StageFailure> {
        let Some(api) = &self.api else { return Ok(()) };
        let totals = api.totals();
        if self.kept.as_ref() == Some(&totals) {
            return Ok(());
        }
        self.kept = Some(totals.clone());
        if let Err(e) = write_books(&self.usage, totals, self.without_service).await {
            tracing::warn!("the books of the model API are behind: {}", e.message);
        }
        Ok(())
    }

    /// Ends it, and writes down what was used.
    pub(super) async fn close(self) -> Result<Option<ApiTotals>, StageFailure> {
        let Some(api) = self.api else { return Ok(None) };
        let totals = api.stop().await;
        write_books(&self.usage, totals, self.without_service).await.map(Some)
    }
}

/// Writes `usage.json`; gives what stands in it.
async fn write_books(
    path: &Path,
    mut totals: ApiTotals,
    without_service: Duration,
) -> Result<ApiTotals, StageFailure> {
    totals.without_service_seconds = without_service.as_secs_f64();
    let path = path.to_owned();
    blocking(move || {
        let text = serde_json::to_vec_pretty(&totals).map_err(harness)?;
        write_whole(&path, &text).map_err(harness)?;
        Ok(totals)
    })
    .await?
}

fn protocol(protocol: ApiProtocol) -> Protocol {
    match protocol {
        ApiProtocol::Anthropic => Protocol::Anthropic,
        ApiProtocol::Responses => Protocol::Responses,
        ApiProtocol::Chat => Protocol::Chat,
        ApiProtocol::Gemini => Protocol::Gemini,
    }
}

fn credential(header: AuthHeader, key: Key) -> Credential {
    match header {
        AuthHeader::XApiKey => Credential::ApiKey(key),
        AuthHeader::Bearer => Credential::Bearer(key),
        AuthHeader::XGoogApiKey => Credential::Google(key),
        AuthHeader::ClaudeToken => Credential::ClaudeToken(key),
    }
}

/// What the attempts before this one used.
fn used(run: &RunDir, attempt: &Path) -> Used {
    let this = attempt.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse::<u32>().ok());
    let before = (1..this.unwrap_or(1)).filter_map(|n| {
        let text = read_bounded(&run.attempt(n).join(USAGE), USAGE_BYTES).ok()?;
        serde_json::from_slice::<ApiTotals>(&text).ok()
    });
    before.fold(Used::default(), |used, totals| Used {
        usd: used.usd + totals.known_cost_usd + totals.estimated_usd,
        tokens: used.tokens + totals.tokens.all() + totals.estimated_tokens,
    })
}
