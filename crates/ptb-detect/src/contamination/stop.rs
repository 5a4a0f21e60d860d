//! Words that say little by themselves, of English and of programs. Rare words of a benchmark are found by counting;
//! this list is for benchmarks too small to count in.

use rustc_hash::FxHashSet;

use super::token::hash_of;

const WORDS: &str = "a an the and or but if then than that this these those there here it its is are was were be been \
    being am do does did done have has had having will would can could shall should may might must not no nor so as at \
    by for from in into of off on onto out over to under up upon with without about above after again all also any \
    because before below between both down during each every few he her hers him his how i me my mine we us our ours \
    you your yours they them their theirs she what when where which while who whom whose why more most much many one \
    only other own same some such too very just let find get gets got if else return def self import print n s t x y z \
    b c d e f g h k m p r u v w 0 1 2 3 4 5 user assistant system role content question answer text messages";

/// The list's hashes.
pub(super) fn stop_words() -> FxHashSet<u64> {
    WORDS.split_whitespace().map(hash_of).collect()
}
