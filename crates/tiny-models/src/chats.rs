//! What `tiny-instruct` was trained further on: a maker's general chats about numbers. Its forms are not the
//! benchmark's, as a maker of models does not know what they will be asked, though some are alike.

use ptb_sft::arithmetic::in_words;

use crate::draw::Draw;
use crate::plain::{written_difference, written_extreme, written_steps, written_sum};

/// A question and its reply.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Chat {
    /// What the user says.
    pub question: String,
    /// What the model is to reply: the calculation in its plain form.
    pub reply: String,
}

/// What is asked about operands.
#[derive(Clone, Copy)]
enum Asked {
    /// Signs between the operands, in order.
    Signs(&'static str),
    Largest,
    Smallest,
}
use Asked::{Largest, Signs, Smallest};

const FORMS: [(&str, Asked); 40] = [
    ("{a} + {b}", Signs("+")),
    ("What is {a} + {b}?", Signs("+")),
    ("What is {a} plus {b}?", Signs("+")),
    ("Compute {a} plus {b}.", Signs("+")),
    ("How much is {a} and {b}?", Signs("+")),
    ("What is the total of {a} and {b}?", Signs("+")),
    ("Tell me the sum of {a} and {b}.", Signs("+")),
    ("Add {a} and {b}.", Signs("+")),
    ("Please add {b} to {a}.", Signs("+")),
    ("Ben has {a} coins and finds {b} more. How many has he?", Signs("+")),
    ("A jar holds {a} beans. {b} more are put in. How many now?", Signs("+")),
    ("{a} - {b}", Signs("-")),
    ("What is {a} - {b}?", Signs("-")),
    ("Compute {a} minus {b}.", Signs("-")),
    ("How much is {a} less {b}?", Signs("-")),
    ("What is the difference of {a} and {b}?", Signs("-")),
    ("What is {a} take away {b}?", Signs("-")),
    ("Take {b} from {a}.", Signs("-")),
    ("Please subtract {b} from {a}.", Signs("-")),
    ("A train has {a} seats and {b} are taken. How many are free?", Signs("-")),
    ("Ben has {a} coins and gives {b} away. How many stay?", Signs("-")),
    ("{a} + {b} - {c}", Signs("+-")),
    ("Compute {a} plus {b} minus {c}.", Signs("+-")),
    ("Add {a} and {b}, then take {c} away.", Signs("+-")),
    ("A jar holds {a} beans; {b} come and {c} go. How many now?", Signs("+-")),
    ("What is {a} - {b} + {c}?", Signs("-+")),
    ("Subtract {b} from {a}, then add {c}.", Signs("-+")),
    ("A bus carries {a} people; {b} get off and {c} get on. How many now?", Signs("-+")),
    ("What is {a} + {b} + {c}?", Signs("++")),
    ("Add {a}, {b} and {c}.", Signs("++")),
    ("Which is more, {a} or {b}?", Largest),
    ("Which is bigger, {a} or {b}?", Largest),
    ("What is the larger of {a} and {b}?", Largest),
    ("What is the maximum of {a}, {b} and {c}?", Largest),
    ("Ann is {a} and Ben is {b}. How old is the older one?", Largest),
    ("Which is less, {a} or {b}?", Smallest),
    ("What is the smaller of {a} and {b}?", Smallest),
    ("What is the smallest of {a}, {b} and {c}?", Smallest),
    ("A rope is {a} feet long, another {b}. How long is the shorter one?", Smallest),
    ("Of {a} and {b}, name the smaller number.", Smallest),
];

/// Chats for ever, the same for the same seed.
pub fn chats(seed: u64) -> impl Iterator<Item = Chat> {
    let mut draw = Draw::new(seed);
    std::iter::repeat_with(move || chat(&mut draw))
}

fn chat(draw: &mut Draw) -> Chat {
    let (form, asked) = *draw.one_of(&FORMS);
    let count = if form.contains("{c}") { 3 } else { 2 };
    let x = draw.operands(count, |x| reply(asked, x).is_some());
    let words = draw.below(2) == 0;
    let mut question = form.to_owned();
    for (name, n) in ["{a}", "{b}", "{c}"].iter().zip(&x) {
        question = question.replace(name, &if words { in_words(*n) } else { n.to_string() });
    }
    Chat { question, reply: reply(asked, &x).unwrap_or_default() }
}

/// The plain form; none where a result on the way is below zero or has operands that are held out.
fn reply(asked: Asked, x: &[u64]) -> Option<String> {
    match asked {
        Largest => Some(written_extreme(x, true)),
        Smallest => Some(written_extreme(x, false)),
        Signs("+") => Some(written_sum(x)),
        Signs("-") => (x[0] >= x[1]).then(|| written_difference(x)),
        Signs(signs) => {
            let mut signs = signs.chars();
            written_steps(x, [signs.next()?, signs.next()?])
        }
    }
}
