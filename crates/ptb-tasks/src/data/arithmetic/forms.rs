//! The forms that questions of the `arithmetic` benchmark have. Its task description lists each of them.

/// One form of question.
pub(super) struct Form {
    /// What is asked for, in a word or two; the records' `kind`.
    pub(super) kind: &'static str,
    /// The question; its operands are `{a}`, `{b}` and perhaps `{c}`.
    pub(super) text: &'static str,
    /// What is asked about them, in that order.
    pub(super) asked: Asked,
}

impl Form {
    /// Number of operands.
    pub(super) fn operands(&self) -> usize {
        if self.text.contains("{c}") { 3 } else { 2 }
    }

    /// The question for operands as they are to be written.
    pub(super) fn filled(&self, operands: &[String]) -> String {
        let names = ["{a}", "{b}", "{c}"].iter().zip(operands);
        names.fold(self.text.to_owned(), |text, (name, operand)| text.replace(name, operand))
    }
}

const SUM: &str = "sum";
const DIFFERENCE: &str = "difference";
const TWO: &str = "two operations";
const COMPARISON: &str = "comparison";

/// What is asked about the operands.
#[derive(Clone, Copy)]
pub(super) enum Asked {
    /// The result of these signs between them.
    Signs(&'static str),
    /// The largest of them.
    Largest,
    /// The smallest of them.
    Smallest,
}
use Asked::{Largest, Signs, Smallest};

/// A question worked out.
pub(super) struct Worked {
    /// In one line, one operation after the other; the answer stands last: `12+30-5 = 42-5 = 37`.
    pub(super) text: String,
    /// Operands of the steps on the way, where there is more than one step.
    pub(super) steps: Vec<[u64; 2]>,
}

impl Asked {
    /// Works it out; none where a result would be below zero.
    pub(super) fn worked(self, x: &[u64]) -> Option<Worked> {
        let (word, result) = match self {
            Signs(signs) => return signs_worked(signs, x),
            Largest => ("max", *x.iter().max()?),
            Smallest => ("min", *x.iter().min()?),
        };
        let list = x.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        Some(Worked { text: format!("{word}({list}) = {result}"), steps: Vec::new() })
    }
}

fn signs_worked(signs: &str, x: &[u64]) -> Option<Worked> {
    let (mut value, mut steps, mut sides) = (x[0], Vec::new(), Vec::new());
    for (i, sign) in signs.chars().enumerate() {
        let rest = signs.chars().zip(&x[1..]).skip(i).map(|(sign, n)| format!("{sign}{n}"));
        sides.push(format!("{value}{}", rest.collect::<String>()));
        steps.push([value, x[i + 1]]);
        value = if sign == '+' { value + x[i + 1] } else { value.checked_sub(x[i + 1])? };
    }
    if steps.len() == 1 {
        steps.clear();
    }
    Some(Worked { text: format!("{} = {value}", sides.join(" = ")), steps })
}

const fn form(kind: &'static str, text: &'static str, asked: Asked) -> Form {
    Form { kind, text, asked }
}

/// All forms. Their order is part of what a seed means.
pub(super) const FORMS: [Form; 16] = [
    form(SUM, "What is {a} + {b}?", Signs("+")),
    form(SUM, "What is the sum of {a} and {b}?", Signs("+")),
    form(SUM, "Add {b} to {a}.", Signs("+")),
    form(SUM, "Ann has {a} marbles and gets {b} more. How many has she?", Signs("+")),
    form(DIFFERENCE, "What is {a} - {b}?", Signs("-")),
    form(DIFFERENCE, "What is {a} minus {b}?", Signs("-")),
    form(DIFFERENCE, "Subtract {b} from {a}.", Signs("-")),
    form(DIFFERENCE, "A bus carries {a} people and {b} get off. How many stay?", Signs("-")),
    form(TWO, "What is {a} + {b} - {c}?", Signs("+-")),
    form(TWO, "What is {a} plus {b} plus {c}?", Signs("++")),
    form(TWO, "Add {b} to {a}, then subtract {c}.", Signs("+-")),
    form(TWO, "A shelf holds {a} books; {b} go and {c} come. How many now?", Signs("-+")),
    form(COMPARISON, "Which is larger, {a} or {b}?", Largest),
    form(COMPARISON, "Which is smaller, {a} or {b}?", Smallest),
    form(COMPARISON, "What is the largest of {a}, {b} and {c}?", Largest),
    form(COMPARISON, "Tom is {a} and Eve is {b}. How old is the younger one?", Smallest),
];
