//! From what a server printed before it ended to the class of its fault.
//!
//! The texts are those of vLLM, `transformers`, PyTorch, safetensors and the C library; each rule's text was
//! seen in the output of one of them or stands in its source. A submission cannot choose the machine's fault
//! for its own: no code of it runs, and no text of it that a server may quote holds one of these ([`imitated`]).

use super::error::{Fault, FaultClass};
use super::output::tidy;
use FaultClass::{
    Address, Architecture, Config, Context, Crash, Dtype, GpuMemory, HostMemory, Installation,
    Tokenizer, Weights,
};

/// Lines of the output's end that a fault carries.
const TAIL_LINES: usize = 30;
/// Characters of a line that are looked at and told.
const WIDTH: usize = 600;

/// A text (lower case) in a line, the class it tells of, and whether the model is at fault then.
type Rule = (&'static str, FaultClass, bool);

/// The first rule that any line fits decides, so those with the surest texts come first.
const RULES: &[Rule] = &[
    // the GPU's memory
    ("cuda out of memory", GpuMemory, false),
    ("torch.outofmemoryerror", GpuMemory, false),
    ("hip out of memory", GpuMemory, false),
    ("cublas_status_alloc_failed", GpuMemory, false),
    ("is less than desired gpu memory utilization", GpuMemory, false),
    ("no available memory for the cache blocks", GpuMemory, false),
    // the machine's memory
    ("is less than desired cpu memory utilization", HostMemory, false),
    ("can't allocate memory", HostMemory, false),
    ("cannot allocate memory", HostMemory, false),
    ("std::bad_alloc", HostMemory, false),
    ("not enough memory", HostMemory, false),
    ("memoryerror", HostMemory, false),
    ("failed to map segment from shared object", HostMemory, false),
    ("can't start new thread", HostMemory, false),
    // context: against the configuration, or against memory
    ("is greater than the derived max_model_len", Context, true),
    ("larger than the maximum number of tokens that can be stored in kv cache", Context, false),
    ("the estimated maximum model length is", Context, false),
    ("larger than the available kv cache memory", Context, false),
    // element types
    ("unknown dtype", Dtype, true),
    ("`torch_dtype` must be", Dtype, true),
    ("invalid dtype", Dtype, true),
    ("cannot be instantiated under `dtype", Dtype, true),
    ("has no attribute 'dtype", Dtype, true),
    ("is only supported on gpus with compute capability", Dtype, false),
    ("module 'torch' has no attribute", Dtype, true),
    ("module torch has no attribute", Dtype, true),
    // architectures
    ("are not supported for now", Architecture, true),
    ("does not recognize this architecture", Architecture, true),
    ("unrecognized model in", Architecture, true),
    ("has no vllm implementation", Architecture, true),
    ("unrecognized configuration class", Architecture, true),
    ("failed to be inspected", Architecture, true),
    ("module transformers has no attribute", Architecture, true),
    ("module 'transformers' has no attribute", Architecture, true),
    ("trust_remote_code=true", Architecture, true),
    // tokenizer and processor
    ("can't load tokenizer", Tokenizer, true),
    ("can't load image processor", Tokenizer, true),
    ("can't load feature extractor", Tokenizer, true),
    ("can't load processor", Tokenizer, true),
    ("can't load the configuration of image processor", Tokenizer, true),
    ("couldn't instantiate the backend tokenizer", Tokenizer, true),
    ("unable to load vocabulary", Tokenizer, true),
    ("preprocessor_config.json", Tokenizer, true),
    ("processor_config.json", Tokenizer, true),
    ("unrecognized processing class", Tokenizer, true),
    ("unrecognized image processor", Tokenizer, true),
    ("does not exist or is not currently imported", Tokenizer, true),
    // weights
    ("safetensorerror", Weights, true),
    ("safetensorserror", Weights, true),
    ("error while deserializing header", Weights, true),
    ("size mismatch for", Weights, true),
    ("ignore_mismatched_sizes", Weights, true),
    ("weights were not initialized from", Weights, true),
    ("there is no module or parameter named", Weights, true),
    ("attempted to load weight", Weights, true),
    ("exceeds dimension size", Weights, true),
    ("cannot find any model weights", Weights, true),
    ("no file named model.safetensors", Weights, true),
    // configuration
    ("does not appear to have a file named config.json", Config, true),
    ("validation error for", Config, true),
    ("validation errors for", Config, true),
    ("strictdataclass", Config, true),
    ("jsondecodeerror", Config, true),
    // where it listens
    ("address already in use", Address, false),
    // the installation
    ("libcuda.so", Installation, false),
    ("the nvidia driver on your system is too old", Installation, false),
    ("cuda driver version is insufficient", Installation, false),
    ("failed to infer device type", Installation, false),
    ("modulenotfounderror", Installation, false),
    ("importerror", Installation, false),
    ("error: unrecognized arguments", Installation, false),
    ("no such option", Installation, false),
];

/// The first text of a rule for a fault of the machine that a text of a submission holds: a server that quoted it
/// would be read as telling of that fault.
pub(super) fn imitated(text: &str) -> Option<&'static str> {
    let lines: Vec<String> =
        text.lines().map(|line| tidy(line, usize::MAX).to_lowercase()).collect();
    let held = |rule: &str| lines.iter().any(|line| line.contains(rule));
    RULES.iter().find(|(rule, _, of_model)| !of_model && held(rule)).map(|(rule, _, _)| *rule)
}

fn hint(class: FaultClass, of_model: bool) -> &'static str {
    match (class, of_model) {
        (GpuMemory, _) => {
            "end what else uses the GPU, ask for another share, or for a shorter context"
        }
        (HostMemory, _) => {
            "end what else uses memory, raise the limit (ulimit -v, the job's memory), or ask for a shorter context"
        }
        (Architecture, _) => {
            "keep the base model's architecture and config.json, with no code of its own"
        }
        (Weights, _) => "save weights and config.json from the same model, as safetensors",
        (Config, _) => "save the model's configuration again with `save_pretrained`",
        (Tokenizer, true) => "save the tokenizer (and processor) into the model's directory",
        (Tokenizer, false) => {
            "fetch the base model again, with all files of its tokenizer and processor"
        }
        (Dtype, true) => "save the model as bfloat16, and config.json with it",
        (Dtype, false) => {
            "this device cannot compute with the model's element type: use another device"
        }
        (Context, true) => {
            "ask for less context, or keep the base model's `max_position_embeddings`"
        }
        (Context, false) => "ask for less context, or give the engine a larger share of memory",
        (Address, _) => "start it again; another process has taken its socket or port",
        (Installation, _) => "install the server again; its log says what is missing",
        (Crash, _) => "see the engine's log",
    }
}

/// How a server ended, as far as it is known.
#[derive(Debug, Clone, Default)]
pub(super) struct End {
    /// In words.
    pub(super) status: String,
    /// The signal that ended it, not sent by us.
    pub(super) signal: Option<i32>,
    /// Whether the tokenizer that it had was the model's own.
    pub(super) own_tokenizer: bool,
}

/// Reads the fault out of a server's output.
pub(super) fn classify(engine: &'static str, end: &End, output: &str) -> Fault {
    let lines: Vec<String> =
        output.lines().map(|line| tidy(line, WIDTH)).filter(|line| !line.is_empty()).collect();
    let lower: Vec<String> = lines.iter().map(|line| line.to_lowercase()).collect();
    let found = RULES.iter().find_map(|(text, class, of_model)| {
        // The last such line: retries and wrappers repeat it with more around it.
        let at = lower.iter().rposition(|line| line.contains(text) && !is_chatter(line))?;
        Some((*class, *of_model, lines.get(at)?.clone()))
    });
    let (class, of_model, message) = found.unwrap_or_else(|| by_status(end, &lines));
    let of_model = of_model && (class != Tokenizer || end.own_tokenizer);
    let tail = lines.iter().skip(lines.len().saturating_sub(TAIL_LINES));
    Fault {
        engine,
        class,
        of_model,
        status: end.status.clone(),
        message: without_prefix(&message).to_owned(),
        hint: hint(class, of_model),
        tail: tail.cloned().collect::<Vec<_>>().join("\n"),
    }
}

/// Lines that only tell what goes on; servers print their whole configuration there.
fn is_chatter(line: &str) -> bool {
    [" info ", " debug ", " warning "]
        .iter()
        .any(|level| line.find(level).is_some_and(|at| at < 40))
        || line.starts_with("file \"")
}

/// Without a text to go by: a kill from outside is the kernel's, out of memory; the rest is a crash, told
/// by the last line of an error's form, or the last line at all.
fn by_status(end: &End, lines: &[String]) -> (FaultClass, bool, String) {
    const KILL: i32 = 9;
    if end.signal == Some(KILL) {
        let text = "it was killed, most likely by the kernel for want of memory";
        return (HostMemory, false, text.to_owned());
    }
    let is_error = |line: &&String| {
        let line = without_prefix(line);
        let name = line.split([':', ' ']).next().unwrap_or_default();
        let is_one = name.ends_with("Error") || name.ends_with("Exception");
        // The parent of the process that failed says only that one did.
        is_one && !line.contains("See root cause above")
    };
    let last = lines.iter().rev().find(is_error).or(lines.last());
    (Crash, false, last.cloned().unwrap_or_else(|| "it printed nothing".to_owned()))
}

/// A log line without `(EngineCore pid=12) ERROR 11-21 16:56:38 [core.py:402]`.
fn without_prefix(line: &str) -> &str {
    let mut line = line.trim_start();
    if let Some((_, rest)) = line.strip_prefix('(').and_then(|l| l.split_once(") ")) {
        line = rest.trim_start();
    }
    match line.split_once("] ") {
        Some((head, rest)) if head.contains(" [") && head.len() < 60 => rest.trim_start(),
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_of(output: &str) -> (FaultClass, bool, String) {
        let end = End { status: "exited with 1".to_owned(), signal: None, own_tokenizer: true };
        let fault = classify("vllm", &end, output);
        (fault.class, fault.of_model, fault.message)
    }

    #[test]
    fn the_reason_is_found_above_what_follows_from_it() {
        let output = "\
(EngineCore pid=7) INFO 11-21 16:56:27 [core.py:133] config: error cuda out of memory\n\
(EngineCore pid=7) ERROR 11-21 16:56:27 [core.py:9] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n\
(APIServer pid=5) RuntimeError: Engine core initialization failed. See root cause above.\n";
        let (class, of_model, message) = class_of(output);
        assert_eq!((class, of_model), (GpuMemory, false));
        assert!(message.starts_with("torch.OutOfMemoryError"), "{message}");
    }

    #[test]
    fn whose_fault_a_tokenizer_is_depends_on_where_it_came_from() {
        let text = "OSError: Can't load tokenizer for '/opt/model'";
        assert!(class_of(text).1);
        let end = End { own_tokenizer: false, ..End::default() };
        let fault = classify("vllm", &end, text);
        assert_eq!((fault.class, fault.of_model), (Tokenizer, false));
        assert!(fault.hint.contains("base model"));
    }

    #[test]
    fn kills_and_unknown_ends_are_told_by_their_status() {
        let end = End { signal: Some(9), ..End::default() };
        assert_eq!(classify("vllm", &end, "loading\n").class, HostMemory);
        let (class, of_model, message) = class_of("a\nValueError: what is this\n  at exit\n");
        assert_eq!((class, of_model, message.as_str()), (Crash, false, "ValueError: what is this"));
        assert_eq!(class_of("").2, "it printed nothing");
        let output = "\
(Worker pid=9) ERROR 11-21 17:18:43 [executor.py:953] Traceback (most recent call last):\n\
(Worker pid=9) ERROR 11-21 17:18:43 [executor.py:953] RuntimeError: the real reason\n\
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n";
        assert_eq!(class_of(output).2, "RuntimeError: the real reason");
    }

    #[test]
    fn servers_own_words_are_understood() {
        for (text, class, of_model) in [
            ("RuntimeError: start (0) + length (400) exceeds dimension size (384).", Weights, true),
            (
                "RuntimeError: You set `ignore_mismatched_sizes` to `False`, thus raising an error.",
                Weights,
                true,
            ),
            ("AttributeError: module 'torch' has no attribute 'float99'", Dtype, true),
            (
                "ValueError: Qwen3ForCausalLM cannot be instantiated under `dtype=torch.int7` as",
                Dtype,
                true,
            ),
            (
                "ImportError: libtorch_cpu.so: failed to map segment from shared object",
                HostMemory,
                false,
            ),
            ("ImportError: libcudart.so.13: cannot open shared object file", Installation, false),
            (
                "ValueError: Free memory on device cuda:0 (20.1/79.2 GiB) on startup is less than desired GPU \
              memory utilization (0.9, 71.3 GiB).",
                GpuMemory,
                false,
            ),
            (
                "ValueError: To serve at least one request with the models's max seq len (32768), (8 GiB KV cache is \
              needed, which is larger than the available KV cache memory (2 GiB).",
                Context,
                false,
            ),
            (
                "  Value error, User-specified max_model_len (512) is greater than the derived max_model_len \
              (max_position_embeddings=256.0",
                Context,
                true,
            ),
            ("OSError: [Errno 98] Address already in use", Address, false),
            ("what(): std::bad_alloc", HostMemory, false),
        ] {
            let (found, whose, _) = class_of(text);
            assert_eq!((found, whose), (class, of_model), "{text}");
        }
        // What only tells what goes on decides nothing.
        let quiet =
            "(EngineCore pid=7) WARNING 11-21 16:56:42 [a.py:1] CUDA out of memory is possible\n";
        assert_eq!(class_of(quiet).0, Crash);
    }

    #[test]
    fn texts_that_would_be_read_as_the_machines_fault_are_known() {
        for (text, rule) in [
            ("CUDA out of memory", Some("cuda out of memory")),
            ("x\nTorch.OutOf\u{7}MemoryError: \u{1b}[31mno", Some("torch.outofmemoryerror")),
            ("Qwen3ForCausalLM", None),
            // One of the model's own faults is no harm.
            ("unknown dtype", None),
        ] {
            assert_eq!(imitated(text), rule, "{text:?}");
        }
    }

    #[test]
    fn every_class_has_a_hint_and_rules_are_in_lower_case() {
        for (text, class, of_model) in RULES {
            assert_eq!(*text, text.to_lowercase());
            assert!(!hint(*class, *of_model).is_empty());
        }
    }
}
