//! The order of choices: Python's `random.Random(seed)`, one generator over all samples in their order, so that
//! whoever knows the seed shows the same choices under the same letters.

use rand_mt::Mt;

use super::Sample;
use crate::score::letter;

/// The letter of the right choice before anything is shuffled.
pub(super) const FIRST: &str = "A";

/// Orders every sample's choices, whose first is the right one, and names the right one's letter as its target.
pub(super) fn shuffle(samples: &mut [Sample], seed: u64) {
    let mut random = PythonRandom::new(seed);
    for sample in samples.iter_mut().filter(|s| !s.choices.is_empty()) {
        let mut order: Vec<usize> = (0..sample.choices.len()).collect();
        random.shuffle(&mut order);
        sample.choices = order.iter().map(|i| sample.choices[*i].clone()).collect();
        let right = order.iter().position(|i| *i == 0).and_then(letter);
        sample.target = right.map(String::from).unwrap_or_default();
    }
}

/// CPython's `random.Random`: the Mersenne Twister seeded with the 32-bit words of a number, and its way from
/// random words to a permutation (`Lib/random.py`).
struct PythonRandom(Mt);

impl PythonRandom {
    fn new(seed: u64) -> Self {
        let words = [seed as u32, (seed >> 32) as u32];
        // A number has no leading zero words; zero itself is one word.
        let words = if words[1] == 0 { &words[..1] } else { &words[..] };
        Self(Mt::new_with_key(words.iter().copied()))
    }

    /// A number below `n`: as many high bits of a word as `n` has, drawn again until they are below it.
    fn below(&mut self, n: usize) -> usize {
        let bits = usize::BITS - n.leading_zeros();
        loop {
            let drawn = (self.0.next_u32() >> (32 - bits.clamp(1, 32))) as usize;
            if drawn < n {
                return drawn;
            }
        }
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last + 1);
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn order(seed: u64, n: usize) -> Vec<usize> {
        let mut items: Vec<usize> = (0..n).collect();
        PythonRandom::new(seed).shuffle(&mut items);
        items
    }

    /// What CPython 3.11 prints for `r = random.Random(seed); x = list(range(n)); r.shuffle(x)`.
    #[test]
    fn orders_are_those_of_python() {
        assert_eq!(order(42, 10), [7, 3, 2, 8, 5, 6, 9, 4, 0, 1]);
        assert_eq!(order(0, 4), [2, 0, 1, 3]);
        assert_eq!(order(u64::MAX, 6), [4, 5, 3, 2, 1, 0]);
        assert_eq!(order(1 << 32, 6), [1, 4, 5, 3, 2, 0]);
        assert_eq!((order(1, 0), order(1, 1)), (vec![], vec![0]));
    }

    /// Every order of 245 and 250 items under seed 42, and of the choices of 448 questions under seven seeds.
    #[test]
    #[allow(clippy::print_stdout, reason = "a test says why it skips")]
    fn orders_are_those_of_the_reference() {
        let Some(shared) = std::env::var_os("PTB_SHARED").filter(|v| !v.is_empty()) else {
            let required = std::env::var("PTB_REQUIRE_ALL").is_ok_and(|v| v == "1");
            assert!(
                !required,
                "PTB_REQUIRE_ALL=1, but PTB_SHARED names no folder of reference files"
            );
            println!("skipped: PTB_SHARED does not name the folder of reference files");
            return;
        };
        let read = |name: &str| -> Value {
            let path = std::path::Path::new(&shared).join("oracle").join(name);
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
        };
        let orders = read("random42_shuffle_orders.json");
        for (n, expected) in orders.as_object().unwrap() {
            assert_eq!(Value::from(order(42, n.parse().unwrap())), *expected);
        }
        let orders = read("gpqa_choice_orders.json");
        assert_eq!(orders["seeds"].as_object().unwrap().len(), 7);
        for (seed, expected) in orders["seeds"].as_object().unwrap() {
            let mut samples: Vec<Sample> = (0..448)
                .map(|_| Sample {
                    choices: ["0", "1", "2", "3"].map(str::to_owned).to_vec(),
                    ..Sample::default()
                })
                .collect();
            shuffle(&mut samples, seed.parse().unwrap());
            let shown: Vec<String> = samples.iter().map(|s| s.choices.concat()).collect();
            assert_eq!(Value::from(shown), *expected);
            for sample in samples {
                let place = sample.choices.iter().position(|c| c == "0").unwrap();
                assert_eq!(sample.target, letter(place).unwrap().to_string());
            }
        }
    }
}
