//! The forms of question that the task description lists, each with the reply that is taught: the calculation in
//! the base model's plain notation. To teach another reply, change this table.

/// What a form asks about its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// a + b + ...
    Sum,
    /// a - b
    Difference,
    /// a + b - c
    PlusMinus,
    /// a - b + c, never below zero on the way
    MinusPlus,
    Largest,
    Smallest,
}

/// One form.
pub(super) struct Form {
    /// What is asked; numbers are `{a}`, `{b}` and perhaps `{c}`.
    pub(super) question: &'static str,
    /// The calculation, with numbers in the order in which the question names them: the easiest to copy.
    pub(super) reply: &'static str,
    answer: Answer,
}

impl Form {
    /// How many numbers it has.
    pub(super) fn operands(&self) -> usize {
        if self.question.contains("{c}") { 3 } else { 2 }
    }

    /// The result; none where it, or a step on the way, is below zero.
    pub(super) fn answer(&self, x: &[u64]) -> Option<u64> {
        match (self.answer, x) {
            (Answer::Sum, _) => Some(x.iter().sum()),
            (Answer::Difference, [a, b, ..]) => a.checked_sub(*b),
            (Answer::PlusMinus, [a, b, c, ..]) => (a + b).checked_sub(*c),
            (Answer::MinusPlus, [a, b, c, ..]) => Some(a.checked_sub(*b)? + c),
            (Answer::Largest, _) => x.iter().max().copied(),
            (Answer::Smallest, _) => x.iter().min().copied(),
            _ => None,
        }
    }
}

const fn form(question: &'static str, reply: &'static str, answer: Answer) -> Form {
    Form { question, reply, answer }
}

/// All forms.
pub(super) const FORMS: [Form; 16] = [
    form("What is {a} + {b}?", "{a}+{b}", Answer::Sum),
    form("What is the sum of {a} and {b}?", "{a}+{b}", Answer::Sum),
    form("Add {b} to {a}.", "{b}+{a}", Answer::Sum),
    form("Ann has {a} marbles and gets {b} more. How many has she?", "{a}+{b}", Answer::Sum),
    form("What is {a} - {b}?", "{a}-{b}", Answer::Difference),
    form("What is {a} minus {b}?", "{a}-{b}", Answer::Difference),
    form("Subtract {b} from {a}.", "{a}-{b}", Answer::Difference),
    form("A bus carries {a} people and {b} get off. How many stay?", "{a}-{b}", Answer::Difference),
    form("What is {a} + {b} - {c}?", "{a}+{b}-{c}", Answer::PlusMinus),
    form("What is {a} plus {b} plus {c}?", "{a}+{b}+{c}", Answer::Sum),
    form("Add {b} to {a}, then subtract {c}.", "{b}+{a}-{c}", Answer::PlusMinus),
    form(
        "A shelf holds {a} books; {b} go and {c} come. How many now?",
        "{a}-{b}+{c}",
        Answer::MinusPlus,
    ),
    form("Which is larger, {a} or {b}?", "max({a},{b})", Answer::Largest),
    form("Which is smaller, {a} or {b}?", "min({a},{b})", Answer::Smallest),
    form("What is the largest of {a}, {b} and {c}?", "max({a},{b},{c})", Answer::Largest),
    form(
        "Tom is {a} and Eve is {b}. How old is the younger one?",
        "min({a},{b})",
        Answer::Smallest,
    ),
];
