//! The two files that a workspace gets. They are clients of the doors: no answer, scorer or key is in
//! them, and changing them changes nothing but what their owner sees.

/// `evaluate.py`: Python's standard library alone, 3.8 and later.
pub const EVALUATE_PY: &str = include_str!("../inside/evaluate.py");

/// `timer.sh`: prints the time left as H:MM, asked from the door by `ptb-door`.
pub const TIMER_SH: &str = include_str!("../inside/timer.sh");
