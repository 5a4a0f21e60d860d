//! Hugging Face `transformers`: `transformers serve`, through a script that puts it on a Unix socket and
//! makes its completions exact.

use super::{Product, Server, Setting};
use crate::engine::error::FaultClass;
use crate::engine::{Fault, StartError};

const PRODUCT: Product = Product {
    name: "transformers",
    variable: "PTB_TRANSFORMERS",
    install: "install it (`pip install transformers[serving] torch accelerate`) so that `transformers` is on PATH",
};

/// What is Transformers's own.
#[derive(Debug)]
pub(super) struct Transformers;

impl Server for Transformers {
    fn product(&self) -> &'static Product {
        &PRODUCT
    }

    fn script(&self) -> Option<&'static str> {
        Some(include_str!("transformers_server.py"))
    }

    /// It is asked by the path that it was given.
    fn model_name(&self, at: &Setting<'_>) -> String {
        at.model.to_string_lossy().into_owned()
    }

    fn connections(&self) -> Option<usize> {
        Some(2)
    }

    fn command(&self, at: &Setting<'_>) -> Result<Vec<String>, StartError> {
        let python = at.installation.python.as_ref().ok_or_else(|| StartError::Missing {
            engine: PRODUCT.name,
            why: format!("{} is no Python script", at.installation.program.display()),
            install: PRODUCT.install,
            variable: PRODUCT.variable,
        })?;
        // The server does not look at what it is asked for until it is too late.
        if let (Some(asked), Some(most)) = (at.spec.max_context, at.shown.positions)
            && asked as u64 > most
        {
            return Err(too_long(asked, most).into());
        }
        let mut command: Vec<String> = [python, at.script, at.socket, &at.installation.program]
            .iter()
            .map(|path| path.to_string_lossy().into_owned())
            .collect();
        let device = if at.gpu_share.is_some() { "cuda:0" } else { "cpu" };
        command.extend(["serve".to_owned(), self.model_name(at)]);
        let flags = ["--no-trust-remote-code", "--dtype", "auto", "--device", device];
        command.extend(flags.map(str::to_owned));
        Ok(command)
    }

    fn env(&self, _at: &Setting<'_>) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

fn too_long(asked: usize, most: u64) -> Fault {
    Fault {
        engine: PRODUCT.name,
        class: FaultClass::Context,
        of_model: true,
        status: "not started".to_owned(),
        message: format!("{asked} tokens of context are asked for, config.json allows {most}"),
        hint: "ask for less context, or keep the base model's `max_position_embeddings`",
        tail: String::new(),
    }
}
