//! vLLM: `vllm serve` on a Unix socket.

use super::{Product, Server, Setting};
use crate::engine::StartError;

const GIB: u64 = 1 << 30;
/// Tokens of prompts that are computed at once, at least.
const LEAST_BATCHED: usize = 4096;
const PRODUCT: Product = Product {
    name: "vllm",
    variable: "PTB_VLLM",
    install: "install it (`pip install vllm`, https://docs.vllm.ai) so that `vllm` is on PATH",
};

/// What is Vllm's own.
#[derive(Debug)]
pub(super) struct Vllm;

impl Server for Vllm {
    fn product(&self) -> &'static Product {
        &PRODUCT
    }

    fn model_name(&self, _at: &Setting<'_>) -> String {
        "model".to_owned()
    }

    fn command(&self, at: &Setting<'_>) -> Result<Vec<String>, StartError> {
        let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let mut command = vec![text(&at.installation.program), "serve".to_owned(), text(at.model)];
        let mut add = |flags: &[&str]| command.extend(flags.iter().map(|flag| (*flag).to_owned()));
        add(&["--uds", &text(at.socket), "--served-model-name", &self.model_name(at)]);
        add(&["--load-format", "safetensors", "--no-trust-remote-code"]);
        // Its own defaults where a request says nothing, never the model's: requests say all that counts.
        add(&["--generation-config", "vllm", "--seed", "0", "--dtype", dtype(at)]);
        add(&["--disable-uvicorn-access-log"]);
        if at.shown.vision {
            // Prompts are text: the tower for images is not loaded, nor tried out with images at the start.
            add(&["--limit-mm-per-prompt", r#"{"image": 0}"#]);
        }
        if let Some(tokens) = at.spec.max_context {
            add(&["--max-model-len", &tokens.to_string()]);
        }
        match at.gpu_share {
            Some(share) => add(&["--gpu-memory-utilization", &share.to_string()]),
            // Compiling takes minutes on a processor and needs a compiler.
            None => add(&["--enforce-eager"]),
        }
        if let Some(tokens) = at.spec.max_context.filter(|_| at.gpu_share.is_none()) {
            // A prompt in parts ends the server where the request has a seed: it rewinds the generator, which
            // a processor's cannot do (vLLM 0.32, "CPU Generator does not use offset").
            add(&["--no-enable-chunked-prefill"]);
            add(&["--max-num-batched-tokens", &tokens.max(LEAST_BATCHED).to_string()]);
        }
        Ok(command)
    }

    fn env(&self, at: &Setting<'_>) -> Vec<(&'static str, String)> {
        let mut env = vec![
            ("VLLM_NO_USAGE_STATS", "1".to_owned()),
            ("VLLM_DO_NOT_TRACK", "1".to_owned()),
            // Without a network it cannot find its own address.
            ("VLLM_HOST_IP", "127.0.0.1".to_owned()),
        ];
        if at.gpu_share.is_none() {
            env.push(("VLLM_CPU_KVCACHE_SPACE", cache_gib(at.memory).to_string()));
        }
        env
    }
}

/// On a GPU what vLLM makes of the file (16 bits); on a processor the file's own type, where it is known.
fn dtype(at: &Setting<'_>) -> &'static str {
    match at.shown.dtype.as_deref() {
        Some("float32") if at.gpu_share.is_none() => "float32",
        Some("bfloat16") => "bfloat16",
        Some("float16") => "float16",
        _ => "auto",
    }
}

/// GiB for keys and values in the machine's memory: a quarter of what is available, 1 to 16.
fn cache_gib(available: u64) -> u64 {
    (available / 4 / GIB).clamp(1, 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_a_bounded_part_of_memory() {
        assert_eq!([0, 9 * GIB, 900 * GIB].map(cache_gib), [1, 2, 16]);
    }
}
