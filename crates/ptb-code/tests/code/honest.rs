//! Programs that mean well, however odd, get what they deserve.

use crate::{LENGTH, expect_verdict, length_job, options};
use libtest_mimic::{Failed, Trial};
use ptb_code::{CodeError, Job, Pool, PoolOptions};
use ptb_sandbox::NoWall;
use std::sync::{Arc, OnceLock};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials: Vec<_> = PROGRAMS
        .iter()
        .map(|(name, passed, reason, source)| {
            Trial::test(format!("honest: {name}"), move || {
                expect_verdict(pool().run(&length_job(source)), *passed, reason)
            })
        })
        .collect();
    trials.push(Trial::test("honest: values of all kinds come back as they were", values));
    trials.push(Trial::test("honest: random values come back as they were", random_values));
    trials.push(Trial::test("honest: subclasses come back as their base", subclasses));
    trials.push(Trial::test("honest: exceptions that tests expect", exceptions));
    trials
        .push(Trial::test("honest: helpers of the prelude, and the function's own name", prelude));
    trials.push(Trial::test("honest: chance is the same each time", chance));
    trials.push(Trial::test("honest: broken tests are no verdict", broken_tests));
    trials.push(Trial::test("honest: no answer breaks the tests", answers_break_no_tests));
    trials.push(Trial::test("honest: no Python and no wall are our failures", requirements));
    trials
}

fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| {
        // Nothing here is about time.
        let PoolOptions { cpu, wall_clock, .. } = PoolOptions::default();
        Pool::start(&PoolOptions { cpu, wall_clock, ..options(1) }).unwrap()
    })
}

const PASS: &str = "all tests passed";

/// Name, whether it passes, part of the reason, the program.
const PROGRAMS: &[(&str, bool, &str, &str)] = &[
    ("plain", true, PASS, LENGTH),
    ("wrong", false, "an assertion failed", "def length(text):\n    return 1"),
    ("raises", false, "raised ZeroDivisionError", "def length(text):\n    return 1 / 0"),
    (
        "own exception",
        false,
        "raised LookupError",
        "class E(LookupError): pass\ndef length(text):\n    raise E",
    ),
    ("returns nothing", false, "an assertion failed", "def length(text):\n    pass"),
    ("another name", false, "not defined", "def size(text):\n    return len(text)"),
    ("syntax", false, "does not compile (SyntaxError)", "def length(text)\n    return 1"),
    (
        "loading raises",
        false,
        "raised NameError while loading",
        "x = y\ndef length(text):\n    return 1",
    ),
    (
        "no such module",
        false,
        "ModuleNotFoundError while loading",
        "import numpy\ndef length(text):\n    return 1",
    ),
    (
        "recursion",
        true,
        PASS,
        "def length(text):\n    return 0 if not text else 1 + length(text[1:])",
    ),
    (
        "deep recursion",
        true,
        PASS,
        "import sys\nsys.setrecursionlimit(20000)\ndef down(n):\n    return 0 if n == 0 else 1 + \
        down(n - 1)\ndef length(text):\n    return len(text) if down(9000) == 9000 else 0",
    ),
    (
        "prints",
        true,
        PASS,
        "print('hello')\ndef length(text):\n    print(text * 1000)\n    return len(text)",
    ),
    (
        "prints to stderr",
        true,
        PASS,
        "import sys\ndef length(text):\n    sys.stderr.write(text)\n    return len(text)",
    ),
    (
        "a class inside",
        true,
        PASS,
        "def length(text):\n    class Box:\n        def __init__(self, t): self.t = t\n        \
        def __len__(self): return len(self.t)\n    return len(Box(text))",
    ),
    (
        "a callable object",
        true,
        PASS,
        "class Length:\n    def __call__(self, text): return len(text)\nlength = Length()",
    ),
    ("a lambda", true, PASS, "length = lambda text: len(text)"),
    (
        "nested functions",
        true,
        PASS,
        "def length(text):\n    n = 0\n    def one():\n        nonlocal n\n        n += 1\n    \
        [one() for _ in text]\n    return n",
    ),
    ("unicode names", true, PASS, "def length(größe):\n    数 = len(größe)\n    return 数"),
    ("windows line ends", true, PASS, "def length(text):\r\n    return len(text)\r\n"),
    ("a float that is whole", true, PASS, "def length(text):\n    return float(len(text))"),
    (
        "a text instead of a number",
        false,
        "an assertion failed",
        "def length(text):\n    return str(len(text))",
    ),
    ("not a number", false, "an assertion failed", "def length(text):\n    return float('nan')"),
    ("a generator", false, "no plain value", "def length(text):\n    yield len(text)"),
    ("async", false, "no plain value", "async def length(text):\n    return len(text)"),
    ("an object", false, "no plain value", "def length(text):\n    return object()"),
    (
        "data class",
        true,
        PASS,
        "from dataclasses import dataclass\nfrom typing import List\n@dataclass\nclass Box:\n    \
        n: int\n    t: 'List[int]' = None\ndef length(text):\n    return Box(len(text)).n",
    ),
    (
        "many modules",
        true,
        PASS,
        "import math, re, collections, itertools, functools, heapq, bisect, string, hashlib, \
        decimal, fractions, statistics, datetime, random, json, copy, operator, typing, enum\ndef length(text):\n    \
        return len(text)",
    ),
    (
        "rare modules",
        true,
        PASS,
        "import difflib, graphlib, colorsys, html, asyncio, unittest, doctest, zipfile, csv, cProfile, \
        encodings.idna\ndef length(text):\n    return len(text)",
    ),
    (
        "asyncio inside",
        true,
        PASS,
        "import asyncio\nasync def main(text):\n    await asyncio.sleep(0)\n    return len(text)\n\
        def length(text):\n    return asyncio.run(main(text))",
    ),
    (
        "threads that end",
        true,
        PASS,
        "import threading\ndef length(text):\n    n = []\n    t = threading.Thread(target=lambda: \
        n.append(len(text)))\n    t.start()\n    t.join()\n    return n[0]",
    ),
    (
        "a pool of threads",
        true,
        PASS,
        "from concurrent.futures import ThreadPoolExecutor\ndef length(text):\n    with \
        ThreadPoolExecutor(2) as pool:\n        return sum(pool.map(lambda c: 1, text))",
    ),
    (
        "main block",
        true,
        PASS,
        "def length(text):\n    return len(text)\nif __name__ == '__main__':\n    print(length('x'))",
    ),
    (
        "main block that leaves",
        false,
        "left while loading",
        "def length(text):\n    return len(text)\nif __name__ == \
        '__main__':\n    exit = 0\n    raise SystemExit(exit)",
    ),
    (
        "main block is run",
        false,
        "not defined",
        "if __name__ != '__main__':\n    def length(text):\n        return len(text)",
    ),
    (
        "state between calls",
        false,
        "an assertion failed",
        "n = 0\ndef length(text):\n    global n\n    n += len(text)\n    \
        return n",
    ),
    (
        "reads itself",
        true,
        PASS,
        "import inspect, sys\ndef length(text):\n    assert inspect.signature(length)\n    \
        return len(text)",
    ),
    (
        "own encode, pack and main",
        true,
        PASS,
        "def encode(x): return x\ndef pack(x): return 0\ndef main(): return 1\n\
        def length(text):\n    return len(encode(text))",
    ),
    (
        "own names for built-in ones",
        true,
        PASS,
        "list = 5\nstr = 7\nmax = 1\ndef length(text):\n    return len(text)",
    ),
    (
        "low recursion limit",
        true,
        PASS,
        "import sys\ndef length(text):\n    sys.setrecursionlimit(60)\n    return len(text)",
    ),
    (
        "quick exit of a helper",
        true,
        PASS,
        "def length(text):\n    try:\n        raise SystemExit(0)\n    except SystemExit:\n        \
        return len(text)",
    ),
];

/// A job whose function gives back what it is given.
fn echo(tests: &str) -> Job {
    Job {
        source: "def same(x, *rest, **named):\n    return [x, rest, named] if rest or named else x"
            .to_owned(),
        entry_point: "same".to_owned(),
        tests: tests.to_owned(),
        prelude: LIKE.to_owned(),
    }
}

/// Equality with types, signs and what is no number.
const LIKE: &str = r"
import math
def like(a, b):
    if type(a) is not type(b):
        return False
    if type(a) is float:
        return math.copysign(1, a) == math.copysign(1, b) and (a == b or a != a and b != b)
    if type(a) is complex:
        return like(a.real, b.real) and like(a.imag, b.imag)
    if type(a) in (list, tuple):
        return len(a) == len(b) and all(map(like, a, b))
    if type(a) is dict:
        return like(list(a.items()), list(b.items()))
    return a == b
";

fn values() -> Result<(), Failed> {
    let tests = r#"
def check(candidate):
    for value in [None, True, False, 0, -1, 2**62, -2**62, 2**63, -2**64, 10**5000, -7**3000, 0.0, -0.0, 0.1, 1e308,
                  5e-324, float("nan"), float("inf"), -float("inf"), 1j, complex(-0.0, float("nan")), "", "a\0b", "é✓𝄞",
                  "\ud800", '["l",1]', b"", bytes(range(256)), bytearray(b"x"), [], (), {}, set(), frozenset(), [[]], ((),),
                  [None], (1,), (1, (2, [3, {4: {5}}])), {1: 2, "1": 3, (1, 2): [4], None: None, True: 1.5, 2.5: b"x"},
                  {"b": 1, "a": 2}, {1, "1", 2.5, None, (1, 2), frozenset({3})}, frozenset([1]), [1] * 10000, "x" * 10**6,
                  {"l": ["l"]}, ["l", 1], ["d", ["d"]], [True, 1, 1.0]]:
        answer = candidate(value)
        assert like(answer, value), repr(value)[:80]
    assert candidate(1, 2, key=3) == [1, (2,), {"key": 3}]
"#;
    expect_verdict(pool().run(&echo(tests)), true, PASS)
}

fn random_values() -> Result<(), Failed> {
    let tests = r#"
import random
def value(depth, hashable=False):
    plain = [lambda: None, lambda: random.random() < 0.5, lambda: random.randint(-10**30, 10**30),
             lambda: random.uniform(-1e300, 1e300), lambda: "".join(map(chr, random.choices(range(0x3000), k=5))),
             lambda: random.randbytes(4), lambda: complex(random.random(), -random.random())]
    some = lambda hashable: [value(depth - 1, hashable) for _ in range(random.randint(0, 4))]
    nested = [lambda: tuple(some(hashable)), lambda: frozenset(some(True))]
    if not hashable:
        nested += [lambda: some(False), lambda: set(some(True)), lambda: {key: value(depth - 1) for key in some(True)}]
    return random.choice(plain + nested * 2 if depth else plain)()

def check(candidate):
    for _ in range(500):
        one = value(4)
        assert like(candidate(one), one), repr(one)[:80]
"#;
    expect_verdict(pool().run(&echo(tests)), true, PASS)
}

fn subclasses() -> Result<(), Failed> {
    let source = r#"
import collections, enum
class Level(enum.IntEnum):
    HIGH = 3
class Text(str):
    def __eq__(self, other): return True
    __hash__ = str.__hash__
Pair = collections.namedtuple("Pair", "a b")
def make(n):
    counter = collections.defaultdict(list)
    counter[1].append(2)
    return [collections.Counter("aab"), collections.OrderedDict(a=1), counter, Pair(1, 2), Level.HIGH, Text("no"),
            type("L", (list,), {})([1])][n]
"#;
    let tests = r#"
def check(candidate):
    for n, right in enumerate([{"a": 2, "b": 1}, {"a": 1}, {1: [2]}, (1, 2), 3, "no", [1]]):
        answer = candidate(n)
        assert type(answer) is type(right) and answer == right, n
    assert candidate(5) != "yes"
"#;
    let job = Job {
        source: source.to_owned(),
        entry_point: "make".to_owned(),
        tests: tests.to_owned(),
        ..Job::default()
    };
    expect_verdict(pool().run(&job), true, PASS)
}

fn exceptions() -> Result<(), Failed> {
    let source = "class Own(KeyError): pass\nclass Bare(Exception): pass\ndef fail(n):\n    raise [ValueError('x'), \
                  Own('x'), Bare('x'), UnicodeDecodeError('utf-8', b'', 0, 1, 'x'), OSError(2, 'x'), StopIteration(1), \
                  AssertionError(), ExceptionGroup('x', [ValueError()]) if hasattr(__builtins__, 'ExceptionGroup') else \
                  ValueError()][n]";
    let tests = r#"
def check(candidate):
    for n, kind in enumerate([ValueError, KeyError, Exception, UnicodeDecodeError, FileNotFoundError, StopIteration,
                              AssertionError, Exception]):
        try:
            candidate(n)
        except Exception as error:
            assert type(error) is kind or n == 7, (n, type(error))
        else:
            raise LookupError
"#;
    let job = Job {
        source: source.to_owned(),
        entry_point: "fail".to_owned(),
        tests: tests.to_owned(),
        ..Job::default()
    };
    expect_verdict(pool().run(&job), true, PASS)
}

fn prelude() -> Result<(), Failed> {
    let prelude = "SHIFT = 3\ndef shift(n):\n    return n + SHIFT\n\ndef back(n):\n    \"\"\"undo shift\"\"\"\n";
    let tests = "def check(candidate):\n    assert candidate(shift(5)) == 5\n    assert back(shift(7)) == 7\n";
    let job = |body: &str| Job {
        prelude: prelude.to_owned(),
        source: format!("{prelude}{body}"),
        entry_point: "back".to_owned(),
        tests: tests.to_owned(),
    };
    expect_verdict(pool().run(&job("    return n - SHIFT\n")), true, PASS)?;
    // What the program makes of the helpers stays on its side.
    expect_verdict(
        pool().run(&job("    return n\nSHIFT = 0\ndef shift(n):\n    return n\n")),
        false,
        "an assertion failed",
    )
}

/// `random`, the order of sets and the numbers of objects' names do not change a verdict.
fn chance() -> Result<(), Failed> {
    let source = "import random\ndef draw(n):\n    return [random.random(), list({'a', 'b', 'c', 'd', 'e'}), hash('x')]";
    // Which error the tests raise tells what was drawn, on both sides.
    let tests = r#"
import hashlib, random
def check(candidate):
    drawn = repr((candidate(1), random.random()))
    kinds = [ValueError, KeyError, OSError, TypeError, NameError, IndexError, EOFError, LookupError]
    raise kinds[hashlib.md5(drawn.encode()).digest()[0] % 8]
"#;
    let job = Job {
        source: source.to_owned(),
        entry_point: "draw".to_owned(),
        tests: tests.to_owned(),
        ..Job::default()
    };
    let first = pool().run(&job)?;
    let other = Pool::start(&options(1))?;
    for pool in [pool(), &other, pool(), &other] {
        expect_verdict(pool.run(&job), false, &first.reason)?;
    }
    Ok(())
}

fn broken_tests() -> Result<(), Failed> {
    for (tests, part) in [
        ("def check(candidate)\n", "SyntaxError"),
        ("x = 1", "check"),
        ("import nothing", "ModuleNotFoundError"),
        ("def check(candidate):\n    candidate(object())", "no plain value"),
        ("raise SystemExit(0)", "SystemExit"),
    ] {
        let job = Job { tests: tests.to_owned(), ..length_job(LENGTH) };
        match pool().run(&job) {
            Err(CodeError::BadTests { why, .. }) if why.contains(part) => {}
            other => return Err(Failed::from(format!("{tests}: {other:?}"))),
        }
    }
    expect_verdict(pool().run(&length_job(LENGTH)), true, PASS)
}

/// What tests that have heard the program come to is never told as a fault of theirs: the program could choose it.
fn answers_break_no_tests() -> Result<(), Failed> {
    let early = "assert length('ab') == 2\ndef check(candidate):\n    assert candidate('') == 0\n";
    let back = "def check(candidate):\n    candidate(candidate('x'))\n";
    let large = "def length(text):\n    return 'x' * ((4 << 20) - 2)\n";
    for (tests, source, reason) in [
        (early, LENGTH, None),
        (early, "def length(text):\n    return 3\n", Some("an assertion failed")),
        (early, "def length(text):\n    raise ValueError\n", Some("raised ValueError")),
        (early, "def length(text):\n    return open\n", Some("the answer is no plain value")),
        (back, large, Some("cannot pass on")),
    ] {
        let job = Job { tests: tests.to_owned(), ..length_job(source) };
        expect_verdict(pool().run(&job), reason.is_none(), reason.unwrap_or(PASS))?;
    }
    expect_verdict(pool().run(&length_job(LENGTH)), true, PASS)
}

fn requirements() -> Result<(), Failed> {
    let missing = PoolOptions { python: Some("/nowhere/python3".into()), ..options(1) };
    let open = PoolOptions { wall: Arc::new(NoWall::new()), ..options(1) };
    for (options, part) in [(missing, "/nowhere/python3"), (open, "isolates nothing")] {
        match Pool::start(&options) {
            Err(error) if error.is_missing_requirement() && error.to_string().contains(part) => {}
            other => return Err(Failed::from(format!("{other:?}"))),
        }
    }
    // What stands for Python ends at once inside; then a child that cannot be confined.
    let dir = tempfile::tempdir()?;
    let fake = dir.path().join("python3");
    std::fs::write(&fake, FAKE)?;
    std::fs::set_permissions(&fake, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    match Pool::start(&PoolOptions { python: Some(fake), ..options(1) }) {
        Err(CodeError::Start { why, .. }) if why.contains("did not become ready") => {}
        other => return Err(Failed::from(format!("{other:?}"))),
    }
    let unsettable = PoolOptions { memory: u64::MAX, ..options(1) };
    match Pool::start(&unsettable)?.run(&length_job(LENGTH)) {
        Err(CodeError::Worker { .. }) => Ok(()),
        other => Err(Failed::from(format!("{other:?}"))),
    }
}

/// Answers the question of who it is as a Python would, with a program that is none.
const FAKE: &str = r#"#!/bin/sh
echo '{"program": "/bin/true", "prefixes": [], "version": "3.11.0", "number": 311, "implementation": "none"}'
"#;
