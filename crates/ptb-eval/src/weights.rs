//! Where a registry model's weights lie: a local folder, or the Hugging Face cache.

use std::path::PathBuf;

use ptb_core::registry::Weights;
use ptb_model::Links;
use ptb_tasks::TaskError;
use ptb_tasks::data::hub::HubCache;
use thiserror::Error;

/// Weights that are not on this machine.
#[derive(Debug, Error)]
pub enum WeightsError {
    /// The registry names a folder that is not there.
    #[error("the folder {} of {hub} does not exist; hint: correct `path` in the model's registry file", path.display())]
    NoFolder {
        /// The model.
        hub: String,
        /// The folder.
        path: PathBuf,
    },
    /// The cache does not hold it.
    #[error(transparent)]
    NotCached(#[from] TaskError),
}

/// The folder of a model's weights, and where links in it may lead (the hub's cache is made of links).
pub fn weights_dir(weights: &Weights) -> Result<(PathBuf, Links), WeightsError> {
    if let Some(path) = &weights.path {
        let missing = || WeightsError::NoFolder { hub: weights.hub.clone(), path: path.clone() };
        return path.canonicalize().map(|p| (p, Links::Follow)).map_err(|_| missing());
    }
    let revision = weights.revision.as_deref().unwrap_or("main");
    Ok((HubCache::from_env().model_folder(&weights.hub, revision)?, Links::Follow))
}
