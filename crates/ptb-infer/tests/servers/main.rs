//! Other projects' servers, the real ones, started, asked, broken and ended by our engines: vLLM where
//! `PTB_VLLM` names its program, `transformers serve` where `PTB_TRANSFORMERS` does.
//!
//! This test's own program is also the sandbox's helper, the built-in server, and a harness that is killed.
#![allow(clippy::print_stdout, reason = "the harness reads it, or a person does")]

#[path = "../../examples/serve_model.rs"]
mod builtin;
mod families;
mod faults;
mod help;
mod life;
mod requests;

use std::process::ExitCode;

use help::{Outcome, Which};
use libtest_mimic::{Arguments, Trial};

type Test = fn(Which) -> Outcome;

fn main() -> ExitCode {
    ptb_sandbox::enter_if_helper();
    match std::env::args().nth(1).as_deref() {
        Some("serve-model") => return builtin::main(),
        Some("be-a-harness") => return life::harness(),
        _ => {}
    }
    let both: [(&str, Test); 12] = [
        ("serves_asked_as_we_ask_then_dies_and_is_seen_to", requests::serves),
        ("architectures_as_we_write_them_give_our_texts", families::texts),
        ("unknown_architecture_is_the_models_fault", faults::architecture),
        ("element_type_that_is_none_is_the_models_fault", faults::dtype),
        ("context_that_is_too_long_is_told", faults::context),
        ("too_little_memory_is_the_machines_fault", faults::memory),
        ("weights_of_another_shape_are_the_models_fault", faults::shapes),
        ("weights_of_no_finite_number_are_told", faults::not_finite),
        ("what_is_missing_is_told_without_a_start", faults::missing),
        ("too_little_gpu_memory_is_a_shortfall", faults::shortfall),
        ("killed_harness_takes_all_of_it_along", life::killed_harness),
        ("server_that_takes_too_long_is_ended", life::impatience),
    ];
    // One of the two is enough for what is the same for both, and it starts in a fifth of the time.
    let quick: [(&str, Test); 3] = [
        ("serves_without_a_sandbox_and_is_ended_whole", life::plain),
        ("assertion_of_the_gpu_is_the_models_fault", faults::assertion_of_the_gpu),
        ("falls_back_to_no_sandbox_and_says_so", life::fallback),
    ];
    let mut trials = Vec::new();
    for which in [Which::Transformers, Which::Vllm] {
        let quick = quick.into_iter().filter(|_| which == Which::Transformers);
        for (name, test) in both.into_iter().chain(quick) {
            let name = format!("{}::{name}", which.name());
            trials.push(Trial::test(name, move || which.here()?.map_or(Ok(()), |()| test(which))));
        }
    }
    // Each start takes one core for most of its time and some GB of memory.
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(2));
    libtest_mimic::run(&arguments, trials).exit_code()
}
