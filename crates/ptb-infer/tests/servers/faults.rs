//! Servers that do not come up, for every reason that can be provoked.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Failed;
use ptb_infer::{Completion, Engine, FaultClass, InferError, PythonServer, StartError};
use ptb_model::{RandomModel, random_model};
use serde_json::{Value, json};

use crate::help::{Outcome, TIME, Which, check, expect, fault, model, request, runtime, spec};

/// Changes fields of a model's configuration.
pub(crate) fn configure(dir: &Path, fields: &[(&str, Value)]) -> Outcome {
    let path = dir.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    for (key, value) in fields {
        config[*key] = value.clone();
    }
    Ok(std::fs::write(path, config.to_string())?)
}

pub(crate) fn architecture(which: Which) -> Outcome {
    let home = model(&RandomModel::mini(1))?;
    let fields = [("architectures", json!(["GrandForCausalLM"])), ("model_type", json!("grand"))];
    configure(home.path(), &fields)?;
    expect(&fault(&which.engine(), &spec(home.path()))?, FaultClass::Architecture, true)
}

pub(crate) fn dtype(which: Which) -> Outcome {
    let home = model(&RandomModel::mini(1))?;
    configure(home.path(), &[("dtype", json!("float99")), ("torch_dtype", json!("float99"))])?;
    expect(&fault(&which.engine(), &spec(home.path()))?, FaultClass::Dtype, true)
}

pub(crate) fn context(which: Which) -> Outcome {
    let home = model(&RandomModel { max_positions: 256, ..RandomModel::mini(1) })?;
    expect(&fault(&which.engine(), &spec(home.path()))?, FaultClass::Context, true)
}

pub(crate) fn shapes(which: Which) -> Outcome {
    let home = model(&RandomModel::mini(1))?;
    configure(home.path(), &[("intermediate_size", json!(96))])?;
    expect(&fault(&which.engine(), &spec(home.path()))?, FaultClass::Weights, true)
}

/// The server's own program under `ulimit -v`.
pub(crate) fn memory(which: Which) -> Outcome {
    let (home, place) = (model(&RandomModel::mini(1))?, tempfile::tempdir()?);
    let limit = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (900 << 20, 900 << 20))";
    let limited = after(which, limit, place.path())?;
    let fault = fault(&which.engine_of(&limited), &spec(home.path()))?;
    expect(&fault, FaultClass::HostMemory, false)
}

/// The server's own program, once this Python has run.
fn after(which: Which, first: &str, place: &Path) -> Result<PathBuf, Failed> {
    let program = which.program();
    let script = std::fs::read_to_string(&program)?;
    let head = script.lines().next().ok_or("an empty program")?;
    let text = format!(
        "{head}\nimport runpy, sys\n{first}\nsys.argv[0] = {program:?}\n\
         runpy.run_path({program:?}, run_name='__main__')\n"
    );
    let changed = place.join("changed");
    std::fs::write(&changed, text)?;
    std::fs::set_permissions(&changed, std::fs::Permissions::from_mode(0o755))?;
    Ok(changed)
}

/// What the first sampled answer of a server comes to.
fn first_answer(
    engine: &PythonServer,
    dir: &Path,
) -> Result<Result<Completion, InferError>, Failed> {
    let runtime = runtime()?;
    let running = runtime.block_on(engine.start(&spec(dir)))?;
    let client = running.client(TIME)?;
    let answer = runtime.block_on(client.complete(&request("one", 4, 1)));
    runtime.block_on(running.stop());
    println!("{}: {answer:?}", engine.name());
    Ok(answer)
}

/// Weights of no finite number.
pub(crate) fn not_finite(which: Which) -> Outcome {
    let home = model(&RandomModel::tiny(1))?;
    let path = home.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path)?;
    let length = bytes.first_chunk::<8>().ok_or("too short")?;
    let data = 8 + usize::try_from(u64::from_le_bytes(*length))?;
    bytes.get_mut(data..).ok_or("too short")?.fill(0xff);
    std::fs::write(path, bytes)?;
    let answer = first_answer(&which.engine(), home.path())?;
    let fine = match which {
        Which::Transformers => matches!(answer, Err(InferError::ModelFault { .. })),
        // vLLM 0.32 says nothing of it: its sampler takes the first token of all.
        Which::Vllm => matches!(answer, Ok(_) | Err(InferError::ModelFault { .. })),
    };
    check(fine, format!("{answer:?}"))
}

/// How PyTorch says the same on a GPU: by an assertion of the kernel that draws.
pub(crate) fn assertion_of_the_gpu(which: Which) -> Outcome {
    let (home, place) = (model(&RandomModel::mini(1))?, tempfile::tempdir()?);
    let failing = "import torch\ndef fail(*_, **__):\n    \
                   raise RuntimeError('CUDA error: device-side assert triggered\\nCUDA kernel errors')\n\
                   torch.multinomial = fail";
    let engine = which.engine_of(&after(which, failing, place.path())?);
    let answer = first_answer(&engine, home.path())?;
    check(matches!(answer, Err(InferError::ModelFault { .. })), "it is not the model's fault")
}

/// What needs no server to be said is said without one.
pub(crate) fn missing(which: Which) -> Outcome {
    let home = model(&RandomModel::mini(1))?;
    std::fs::remove_file(home.path().join("tokenizer.json"))?;
    expect(&fault(&which.engine(), &spec(home.path()))?, FaultClass::Tokenizer, true)?;
    let weights = home.path().join("model.safetensors");
    let bytes = std::fs::read(&weights)?;
    std::fs::write(&weights, &bytes[..bytes.len() - 100])?;
    let refused = runtime()?.block_on(which.engine().start(&spec(home.path())));
    let Err(e) = refused else { return Err("it serves".into()) };
    check(e.is_model_fault() && e.to_string().contains("model.safetensors"), e.to_string())?;
    let refused =
        runtime()?.block_on(which.engine_of(Path::new("/etc/passwd")).start(&spec(home.path())));
    check(matches!(&refused, Err(StartError::Missing { .. })), format!("{refused:?}"))
}

/// A driver that says that others use the GPU. In a process of its own, for its `PATH`.
pub(crate) fn shortfall(which: Which) -> Outcome {
    let (home, place) = (tempfile::tempdir()?, tempfile::tempdir()?);
    random_model(home.path(), &RandomModel::mini(1))?;
    let smi = place.path().join("nvidia-smi");
    std::fs::write(&smi, "#!/bin/sh\necho '0, GPU-8f, 81559, 900'\n")?;
    std::fs::set_permissions(&smi, std::fs::Permissions::from_mode(0o755))?;
    let path = std::env::var("PATH")?;
    let output = Command::new(std::env::current_exe()?)
        .args(["be-a-harness", which.name()])
        .arg(home.path())
        .env("PATH", format!("{}:{path}", place.path().display()))
        .env_remove("CUDA_VISIBLE_DEVICES")
        .output()?;
    let said = String::from_utf8(output.stdout).map_err(Failed::from)?;
    check(said.contains("\nretryable: GPU 0 has 0.9 GiB of 79.6 GiB free"), said)
}
