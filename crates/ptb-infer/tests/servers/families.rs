//! Every architecture that the built-in engine has, told to the servers as we write it anew, gives the same text.

use libtest_mimic::Failed;
use ptb_infer::Engine;
use ptb_model::{Architecture, RandomModel};

use crate::help::{GREEDY, Outcome, TIME, Which, check, model, request, runtime, spec};
use crate::requests::of_builtin;

/// Longer than the windows of the random models that have some.
const PROMPT: &str =
    "A prompt that is longer than the window of forty-eight positions, and by a good deal of it";
const TOKENS: usize = 24;

pub(crate) fn texts(which: Which) -> Outcome {
    let all = [
        Architecture::Gemma3Vision,
        Architecture::Gemma3,
        Architecture::SmolLm3,
        Architecture::Llama,
    ];
    // A start of vLLM takes a minute: of its the one that has most in its file.
    let count = if which == Which::Vllm { 1 } else { all.len() };
    for architecture in all.into_iter().take(count) {
        one(which, architecture).map_err(|e| format!("{architecture:?}: {e:?}"))?;
    }
    Ok(())
}

fn one(which: Which, architecture: Architecture) -> Result<(), Failed> {
    let (runtime, home) = (runtime()?, model(&RandomModel::of(architecture, 41))?);
    let expected = of_builtin(&runtime, home.path(), &[PROMPT])?;
    let running = runtime.block_on(which.engine().start(&spec(home.path())))?;
    let client = running.client(TIME)?;
    let mut asked = request(PROMPT, TOKENS, 1);
    asked.sampling = Some(GREEDY);
    let answer = runtime.block_on(client.complete(&asked))?;
    runtime.block_on(running.stop());
    let ours = expected.first().and_then(|ids| ids.get(..TOKENS)).ok_or("too short")?;
    let theirs = answer.token_ids.ok_or("no token ids")?;
    check(theirs == ours, format!("{theirs:?} is not {ours:?}"))
}
