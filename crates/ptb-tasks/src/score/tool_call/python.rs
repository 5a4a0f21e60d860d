//! Calls in Python, read by a Python parser: ground truths, and what models write into `tool_code` blocks.

use std::panic::catch_unwind;

use indexmap::IndexMap;
use ruff_python_ast::{Expr, Keyword, ModModule, Number, Stmt, UnaryOp};

use super::Call;
use super::value::{Int, Plain};
use crate::error::TaskError;

/// Longest source that is read, in bytes.
const LONGEST: usize = 32 << 10;
/// Deepest nesting of a value.
const DEEPEST: usize = 64;
/// Stack of the thread that parses, in bytes for each byte of the source, and at least. A source can nest as deep as
/// it is long, and its tree is taken down by recursion: this is some times what that takes.
const STACK_PER_BYTE: usize = 8 << 10;
const LEAST_STACK: usize = 1 << 20;
/// Pieces of a source that any thread can parse: they nest too little to fill more than half a MiB of its stack.
const FEW_PIECES: usize = 32;

/// The calls that a source consists of: expressions, each a call with named arguments of literal values, or a list
/// of such calls. What is wrong with the source is told inside.
///
/// # Errors
/// When the machine cannot read it.
pub(super) fn calls(source: &str) -> Result<Result<Vec<Call>, String>, TaskError> {
    if source.len() > LONGEST {
        return Ok(Err(format!("it is longer than {LONGEST} bytes")));
    }
    let read = if pieces(source) <= FEW_PIECES {
        catch_unwind(|| parse(source))
    } else {
        in_thread(source, LEAST_STACK.max(source.len() * STACK_PER_BYTE))?
    };
    Ok(read.unwrap_or_else(|_| Err("the Python parser gave up on it".to_owned())))
}

fn in_thread(
    source: &str,
    stack: usize,
) -> Result<std::thread::Result<Result<Vec<Call>, String>>, TaskError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(stack);
        let thread = thread.spawn_scoped(scope, || parse(source)).map_err(|e| {
            let reason = format!("no thread can be started that parses its Python: {e}");
            TaskError::Machine { reason }
        })?;
        Ok(thread.join())
    })
}

fn parse(source: &str) -> Result<Vec<Call>, String> {
    let parsed = ruff_python_parser::parse_module(source.trim());
    let parsed = parsed.map_err(|e| format!("it is not Python: {}", e.error))?;
    of_module(parsed.syntax())
}

/// Words and signs of a source: half of what it may have of tokens (a number may touch the word behind it), of which
/// each level of nesting takes one.
fn pieces(source: &str) -> usize {
    let mut in_word = false;
    let begins = |c: char| {
        let was_in_word = std::mem::replace(&mut in_word, c.is_alphanumeric() || c == '_');
        !(c.is_whitespace() || in_word && was_in_word)
    };
    source.chars().map(begins).filter(|begins| *begins).count()
}

fn of_module(module: &ModModule) -> Result<Vec<Call>, String> {
    let mut calls = Vec::new();
    for statement in &module.body {
        let Stmt::Expr(statement) = statement else {
            return Err("it holds a statement that is no call".to_owned());
        };
        match &*statement.value {
            Expr::List(list) => {
                for item in &list.elts {
                    calls.push(call(item)?);
                }
            }
            other => calls.push(call(other)?),
        }
    }
    Ok(calls)
}

fn call(expr: &Expr) -> Result<Call, String> {
    let Expr::Call(call) = expr else { return Err("it is not a call of a function".to_owned()) };
    let name = name(&call.func, 0).ok_or("what it calls has no plain name")?;
    if !call.arguments.args.is_empty() {
        return Err("it has an argument without a name".to_owned());
    }
    let mut arguments = IndexMap::new();
    for Keyword { arg, value, .. } in &call.arguments.keywords {
        let arg = arg.as_ref().ok_or("it unpacks a dict as its arguments")?;
        let value = plain(value, 0)?;
        if arguments.insert(arg.to_string(), value).is_some() {
            return Err(format!("it has the argument `{arg}` twice"));
        }
    }
    Ok(Call { name, arguments })
}

/// `f`, `module.f`.
fn name(expr: &Expr, depth: usize) -> Option<String> {
    match expr {
        Expr::Name(name) => Some(name.id.to_string()),
        Expr::Attribute(attribute) if depth < DEEPEST => {
            Some(format!("{}.{}", name(&attribute.value, depth + 1)?, attribute.attr))
        }
        _ => None,
    }
}

/// The value of a literal.
fn plain(expr: &Expr, depth: usize) -> Result<Plain, String> {
    if depth > DEEPEST {
        return Err(format!("a value is nested deeper than {DEEPEST} levels"));
    }
    let list = |items: &[Expr]| -> Result<Plain, String> {
        Ok(Plain::List(items.iter().map(|item| plain(item, depth + 1)).collect::<Result<_, _>>()?))
    };
    Ok(match expr {
        Expr::NoneLiteral(_) => Plain::None,
        Expr::BooleanLiteral(b) => Plain::Bool(b.value),
        Expr::StringLiteral(text) => Plain::Text(text.value.to_str().to_owned()),
        Expr::NumberLiteral(n) => number(&n.value)?,
        Expr::UnaryOp(op) => match (op.op, &*op.operand) {
            (UnaryOp::USub, Expr::NumberLiteral(n)) => match number(&n.value)? {
                Plain::Int(n) => Plain::Int(n.negated()),
                Plain::Float(x) => Plain::Float(-x),
                other => other,
            },
            (UnaryOp::UAdd, Expr::NumberLiteral(n)) => number(&n.value)?,
            _ => return Err("a value is not a literal".to_owned()),
        },
        Expr::List(items) => list(&items.elts)?,
        Expr::Tuple(items) => list(&items.elts)?,
        Expr::Dict(dict) => {
            let entry = |item: &ruff_python_ast::DictItem| {
                let key = item.key.as_ref().ok_or("a dict unpacks another")?;
                let key =
                    plain(key, depth + 1)?.key().ok_or("a dict has a key that cannot be one")?;
                Ok((key, plain(&item.value, depth + 1)?))
            };
            Plain::Dict(dict.items.iter().map(entry).collect::<Result<_, String>>()?)
        }
        _ => return Err("a value is not a literal".to_owned()),
    })
}

fn number(number: &Number) -> Result<Plain, String> {
    match number {
        Number::Int(n) => Int::parse(&n.to_string())
            .map(Plain::Int)
            .ok_or_else(|| "a whole number is too large to be read in its base".to_owned()),
        Number::Float(x) => Ok(Plain::Float(*x)),
        Number::Complex { .. } => Err("a value is a complex number".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(source: &str) -> Result<String, String> {
        let calls = calls(source).unwrap()?;
        Ok(calls.iter().map(Call::to_string).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn literals_are_read_as_python_reads_them() {
        let cases = [
            ("f()", "f()"),
            (" f(a=1)\n", "f(a=1)"),
            ("m.f(a=-1, b=+2, c=-0.5e1)", "m.f(a=-1, b=2, c=-5.0)"),
            ("f(a='x' \"y\")", "f(a='xy')"),
            (r"f(a='\u00e9\n', b=r'\n')", r"f(a='é\n', b='\\n')"),
            ("f(a=(1, 2), b=(3,), c=())", "f(a=[1, 2], b=[3], c=[])"),
            ("f(a={'k': [True, False, None], 2: {}})", "f(a={'k': [True, False, None], 2: {}})"),
            ("f(a={1: 'x', 1.0: 'y'})", "f(a={1: 'y'})"),
            ("f(a=0x1F, b=1_000, c=0b11)", "f(a=31, b=1000, c=3)"),
            ("f(a=123456789012345678901234567890)", "f(a=123456789012345678901234567890)"),
            ("f(a=lambda_)", "a value is not a literal"),
            ("f(a=1 + 1)", "a value is not a literal"),
            ("f(a=not True)", "a value is not a literal"),
            ("f(a=f'{x}')", "a value is not a literal"),
            ("f(a=1j)", "a value is a complex number"),
            ("f(a={[1]: 2})", "a dict has a key that cannot be one"),
            ("f(a={**b})", "a dict unpacks another"),
            ("f(1)", "it has an argument without a name"),
            ("f()()", "what it calls has no plain name"),
            ("[f(a=1), g()]", "f(a=1); g()"),
            ("f(a=1)\ng()", "f(a=1); g()"),
            ("import os", "it holds a statement that is no call"),
        ];
        for (source, expected) in cases {
            let told = shown(source).unwrap_or_else(|e| e);
            assert_eq!(told, expected, "{source}");
        }
        assert!(shown("f(a=1").unwrap_err().starts_with("it is not Python: "));
        assert!(shown("f(a=1, a=2)").is_err());
    }

    #[test]
    fn small_sources_nest_too_little_to_need_much_stack() {
        for unit in [
            "[",
            "(",
            "{1:",
            "-",
            "not ",
            "lambda:",
            "g(",
            "1**",
            "1 if 1else ",
            "if 1:",
            "f'{",
            "f().",
            "x:=",
        ] {
            let mut source = String::new();
            while pieces(&format!("{source}{unit}")) <= FEW_PIECES {
                source += unit;
            }
            assert!(in_thread(&source, 512 << 10).unwrap().unwrap().is_err(), "{source}");
        }
        for (source, count) in [("f(a=1)", 6), ("  go_on ( é='x y' )\n", 9), ("1if 2", 2), ("", 0)]
        {
            assert_eq!(pieces(source), count, "{source}");
        }
    }

    #[test]
    fn a_machine_without_threads_blames_no_reply() {
        let e = in_thread("f(a=1)", 1 << 60).unwrap_err().to_string();
        assert!(e.contains("no thread") && e.contains("hint: free memory"), "{e}");
    }

    #[test]
    fn deep_and_long_sources_are_refused_and_do_no_harm() {
        let deep = |open: &str, close: &str| {
            let n = (LONGEST - 10) / (open.len() + close.len());
            format!("f(a={}1{})", open.repeat(n), close.repeat(n))
        };
        for source in [
            deep("[", "]"),
            deep("(", ",)"),
            deep("{1:", "}"),
            deep("-", ""),
            deep("not ", ""),
            deep("lambda:", ""),
            deep("g(", ")"),
            deep("1**", ""),
            deep("1 if 1 else ", ""),
            deep("", ".a"),
            deep("", "[0]"),
            deep("[", ""),
        ] {
            assert!(shown(&source).is_err());
        }
        let all = |body: &str| shown(&body.repeat(LONGEST / body.len())).is_err();
        assert!(all("if 1:") && all("f().") && all("f'{") && all("\\\n") && all("x:="));
        assert!(
            shown(&format!("f(a='{}')", "x".repeat(LONGEST))).unwrap_err().contains("longer than")
        );
    }
}
