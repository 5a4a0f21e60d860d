//! Prepare: the prompt, and where everything comes from.

use std::collections::BTreeMap;

use ptb_agents::prompt;
use ptb_core::cell::{AgentAction, RunSpec};
use ptb_core::files::{sha256_hex, write_whole};
use ptb_core::run::{Provenance, StageFailure};
use ptb_model::{Checkpoint, Links, ModelDir};
use ptb_sandbox::wall_by_name;
use ptb_tasks::data::load;

use super::workspace::places;
use super::{Run, blocking};
use crate::failure::harness;

impl Run<'_> {
    pub(super) async fn prepare(&mut self) -> Result<(), StageFailure> {
        let spec = self.spec().clone();
        let prompt = prompt(&spec, &places(&spec, &self.base()?)?).map_err(harness)?;
        write_whole(&self.dir().prompt(), prompt.as_bytes()).map_err(harness)?;
        let data = match spec.benchmark.value.script() {
            // All that a script asks is in its folder, or known to it alone.
            Some(_) => spec.benchmark.sha256.clone(),
            None => {
                let (benchmark, data) = (spec.benchmark.clone(), spec.data.clone());
                let dataset = blocking(move || load(&benchmark, data.as_deref())).await?;
                dataset.map_err(harness)?.sha256
            }
        };
        let mut hashes: BTreeMap<String, String> = [
            ("prompt", sha256_hex(prompt.as_bytes())),
            ("data", data),
            ("benchmark", spec.benchmark.sha256.clone()),
            ("model", spec.model.sha256.clone()),
            ("chat template", sha256_hex(spec.chat_template.as_bytes())),
        ]
        .map(|(name, hash)| (name.to_owned(), hash))
        .into();
        // Recorded, so that weights that were changed in place can be told later.
        let base = self.base()?;
        let weights = move || {
            ModelDir::open_with(&base, Links::Follow)
                .and_then(|d| Checkpoint::open(&d)?.weights_hash())
        };
        hashes.insert("base weights".to_owned(), blocking(weights).await?.map_err(harness)?);
        let mut limits = BTreeMap::new();
        match &spec.agent.action {
            AgentAction::Submit(_) => {}
            AgentAction::Baseline(baseline) if baseline.few_shot_sha256.is_empty() => {}
            AgentAction::Baseline(baseline) => {
                let sha256 = baseline.few_shot_sha256.clone();
                hashes.insert("few-shot prompt".into(), sha256);
            }
            AgentAction::Command(entry) => {
                drop(hashes.insert("agent".into(), entry.sha256.clone()))
            }
            AgentAction::Folder { sha256, .. } => {
                drop(hashes.insert("agent".into(), sha256.clone()))
            }
        }
        if !spec.agent.is_baseline() {
            let report =
                wall_by_name(&spec.sandbox).and_then(|wall| wall.probe()).map_err(harness)?;
            limits.insert("sandbox".to_owned(), report.wall);
            for guarantee in report.guarantees {
                let holds = if guarantee.holds { "yes" } else { "no" };
                limits.insert(guarantee.name, format!("{holds}: {}", guarantee.how));
            }
        }
        let installed = self.scaffold().await?;
        let version = installed.and_then(|i| Some((scaffold_id(&spec)?, i.version)));
        let provenance = Provenance {
            ptb: env!("CARGO_PKG_VERSION").to_owned(),
            hashes,
            host: host(),
            limits,
            versions: version.into_iter().collect(),
        };
        self.store.update(|record| record.provenance = provenance).await
    }
}

fn scaffold_id(spec: &RunSpec) -> Option<String> {
    match &spec.agent.action {
        AgentAction::Command(agent) => Some(agent.id.clone()),
        _ => None,
    }
}

/// Facts about this machine.
fn host() -> BTreeMap<String, String> {
    let uname = rustix::system::uname();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory =
        memory.lines().next().unwrap_or("").trim_start_matches("MemTotal:").trim().to_owned();
    [
        ("name", uname.nodename().to_string_lossy().into_owned()),
        ("kernel", uname.release().to_string_lossy().into_owned()),
        ("machine", uname.machine().to_string_lossy().into_owned()),
        ("processors", std::thread::available_parallelism().map_or(0, usize::from).to_string()),
        ("memory", memory),
    ]
    .map(|(name, fact)| (name.to_owned(), fact))
    .into()
}
