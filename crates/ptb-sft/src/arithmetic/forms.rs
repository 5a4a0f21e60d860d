//! The forms of question that the task description lists, each with the reply that is taught: the calculation in
//! the base model's plain notation. To teach another reply, change this table.

/// One form.
pub(super) struct Form {
    /// What is asked; numbers are `{a}`, `{b}` and perhaps `{c}`.
    pub(super) question: &'static str,
    /// The calculation, with numbers in the order in which the question names them where that makes no
    /// difference: the easiest to copy.
    pub(super) calculation: &'static str,
}

impl Form {
    /// How many numbers it has.
    pub(super) fn operands(&self) -> usize {
        if self.question.contains("{c}") { 3 } else { 2 }
    }
}

const fn form(question: &'static str, calculation: &'static str) -> Form {
    Form { question, calculation }
}

/// All forms.
pub(super) const FORMS: [Form; 16] = [
    form("What is {a} + {b}?", "{a}+{b}"),
    form("What is the sum of {a} and {b}?", "{a}+{b}"),
    form("Add {b} to {a}.", "{b}+{a}"),
    form("Ann has {a} marbles and gets {b} more. How many has she?", "{a}+{b}"),
    form("What is {a} - {b}?", "{a}-{b}"),
    form("What is {a} minus {b}?", "{a}-{b}"),
    form("Subtract {b} from {a}.", "{a}-{b}"),
    form("A bus carries {a} people and {b} get off. How many stay?", "{a}-{b}"),
    form("What is {a} + {b} - {c}?", "{a}+{b}-{c}"),
    form("What is {a} plus {b} plus {c}?", "{a}+{b}+{c}"),
    form("Add {b} to {a}, then subtract {c}.", "{b}+{a}-{c}"),
    form("A shelf holds {a} books; {b} go and {c} come. How many now?", "{a}-{b}+{c}"),
    form("Which is larger, {a} or {b}?", "max({a},{b})"),
    form("Which is smaller, {a} or {b}?", "min({a},{b})"),
    form("What is the largest of {a}, {b} and {c}?", "max({a},{b},{c})"),
    form("Tom is {a} and Eve is {b}. How old is the younger one?", "min({a},{b})"),
];
