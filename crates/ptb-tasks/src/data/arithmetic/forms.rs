//! The forms that questions of the `arithmetic` benchmark have. Its task description lists each of them.

/// One form of question.
pub(super) struct Form {
    /// What is asked for, in a word or two; the records' `kind`.
    pub(super) kind: &'static str,
    /// The question; its operands are `{a}`, `{b}` and perhaps `{c}`.
    pub(super) text: &'static str,
    /// The answer to operands in that order; none where it would be below zero.
    pub(super) answer: fn(&[u64]) -> Option<u64>,
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

fn sum(x: &[u64]) -> Option<u64> {
    Some(x.iter().sum())
}

fn difference(x: &[u64]) -> Option<u64> {
    x[0].checked_sub(x[1])
}

fn plus_minus(x: &[u64]) -> Option<u64> {
    (x[0] + x[1]).checked_sub(x[2])
}

fn minus_plus(x: &[u64]) -> Option<u64> {
    Some(difference(x)? + x[2])
}

fn largest(x: &[u64]) -> Option<u64> {
    x.iter().max().copied()
}

fn smallest(x: &[u64]) -> Option<u64> {
    x.iter().min().copied()
}

const fn form(kind: &'static str, text: &'static str, answer: fn(&[u64]) -> Option<u64>) -> Form {
    Form { kind, text, answer }
}

/// All forms. Their order is part of what a seed means.
pub(super) const FORMS: [Form; 16] = [
    form(SUM, "What is {a} + {b}?", sum),
    form(SUM, "What is the sum of {a} and {b}?", sum),
    form(SUM, "Add {b} to {a}.", sum),
    form(SUM, "Ann has {a} marbles and gets {b} more. How many has she?", sum),
    form(DIFFERENCE, "What is {a} - {b}?", difference),
    form(DIFFERENCE, "What is {a} minus {b}?", difference),
    form(DIFFERENCE, "Subtract {b} from {a}.", difference),
    form(DIFFERENCE, "A bus carries {a} people and {b} get off. How many stay?", difference),
    form(TWO, "What is {a} + {b} - {c}?", plus_minus),
    form(TWO, "What is {a} plus {b} plus {c}?", sum),
    form(TWO, "Add {b} to {a}, then subtract {c}.", plus_minus),
    form(TWO, "A shelf holds {a} books; {b} go and {c} come. How many now?", minus_plus),
    form(COMPARISON, "Which is larger, {a} or {b}?", largest),
    form(COMPARISON, "Which is smaller, {a} or {b}?", smallest),
    form(COMPARISON, "What is the largest of {a}, {b} and {c}?", largest),
    form(COMPARISON, "Tom is {a} and Eve is {b}. How old is the younger one?", smallest),
];
