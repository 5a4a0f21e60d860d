//! The order of choices: Python's `random.Random(seed)`, one generator over all samples in their order, so that
//! whoever knows the seed shows the same choices under the same letters.

use super::Sample;
use super::random::PythonRandom;
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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

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
            let mut items: Vec<usize> = (0..n.parse().unwrap()).collect();
            PythonRandom::new(42).shuffle(&mut items);
            assert_eq!(Value::from(items), *expected);
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
