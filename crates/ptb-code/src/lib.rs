//! A model's Python, run apart from its tests.
//!
//! This room takes a [`Job`] (a program, the name of one of its functions, tests for it) and gives a
//! [`Verdict`]. It knows nothing of benchmarks, prompts or models.
//!
//! How: a [`Pool`] has workers. A worker is two walls, each with one Python that has the standard
//! library loaded and forks. In the one wall every job gets a child of its own, which runs the program;
//! in the other a child runs the tests, of one job after another until anything extraordinary happens.
//! When the tests call the function, the question goes as plain values (numbers, strings, bytes, lists,
//! tuples, sets, dicts, None) from the one child through this process to the other, and the answer the
//! same way back, rebuilt out of built-in types. The tests' child alone says whether they passed.
//!
//! What a program can do about it: nothing that its answers do not do. The tests are not in its
//! process, its wall or its reach; leaving early is a call without an answer; an object that equals
//! everything does not cross. Beyond the wall's protections the child has a filter that allows only
//! the system calls of a computation (no process, no file written, no signal, no socket), where the
//! kernel has Landlock can read only the language's own library, and has limits on memory, CPU time
//! and the time on the clock. When the job is over everything in the program's wall but the
//! forking Python is killed; a worker whose Pythons were harmed is replaced.
//!
//! What crosses: values, and of an exception the nearest built-in type's name. What does not: changes
//! to arguments, printed text, identity of objects; an iterator or an object of the program's own as an
//! answer is a failure. Both children have `random` seeded with 0 for each job and string hashes
//! without randomness, so that the same job has the same verdict.
//!
//! What it must never do:
//! - run a program and its tests in one process, or read anything of a program but bounded frames;
//! - run a program without a wall;
//! - count a failure of its own (no Python, no wall) as the program's: that is a [`CodeError`].

mod error;
mod filter;
mod frame;
mod job;
mod pool;
mod python;
mod relay;
mod worker;
mod zygote;

pub use error::{CodeError, Result};
pub use job::{Job, PoolOptions, Verdict};
pub use pool::Pool;
pub use python::{PYTHON_VARIABLE, Python};
