//! What Unicode says of single characters: digits of every script, Chinese numerals, fractions, superscripts.

/// The zeros of the decimal digit ranges (general category Nd, Unicode 14); each is followed by its 1 to 9.
const ZEROS: [u32; 66] = [
    0x0030, 0x0660, 0x06f0, 0x07c0, 0x0966, 0x09e6, 0x0a66, 0x0ae6, 0x0b66, 0x0be6, 0x0c66, 0x0ce6,
    0x0d66, 0x0de6, 0x0e50, 0x0ed0, 0x0f20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80,
    0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0,
    0xff10, 0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0,
    0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16ac0,
    0x16b50, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];

/// Chinese characters that are numerals (Unicode's numeric ideographs in everyday and financial use).
const CHINESE: &str = concat!(
    "一二三四五六七八九零〇壹贰貳叁參参叄肆伍陆陸柒捌玖两兩幺壱弐弌弍弎亖仨漆",
    "十拾什百佰陌千仟阡万萬亿億兆廿卄卅卌"
);

/// Part of a Chinese number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chinese {
    /// 0 to 9.
    Digit(u64),
    /// 20, 30 or 40 in one character.
    Tens(u64),
    /// 10, 100 or 1000: multiplies the digit before it.
    Unit(u64),
    /// 10^4, 10^8 or 10^12: multiplies everything since the last of its kind.
    Myriad(u64),
}

/// The value of a decimal digit of any script.
pub(super) fn digit(c: char) -> Option<u32> {
    if c.is_ascii() {
        return c.to_digit(10);
    }
    let code = u32::from(c);
    let zero = ZEROS[..ZEROS.partition_point(|z| *z <= code)].last()?;
    Some(code - zero).filter(|value| *value < 10)
}

/// Whether a character stands for a number: a digit, fraction, superscript, letter-like or Chinese numeral.
pub(super) fn is_numeric(c: char) -> bool {
    c.is_numeric() || CHINESE.contains(c)
}

/// What a Chinese numeral contributes.
pub(super) fn chinese(c: char) -> Option<Chinese> {
    use Chinese::{Digit, Myriad, Tens, Unit};
    Some(match c {
        '零' | '〇' => Digit(0),
        '一' | '壹' | '幺' | '壱' | '弌' => Digit(1),
        '二' | '贰' | '貳' | '两' | '兩' | '弐' | '弍' => Digit(2),
        '三' | '叁' | '參' | '参' | '叄' | '弎' | '仨' => Digit(3),
        '四' | '肆' | '亖' => Digit(4),
        '五' | '伍' => Digit(5),
        '六' | '陆' | '陸' => Digit(6),
        '七' | '柒' | '漆' => Digit(7),
        '八' | '捌' => Digit(8),
        '九' | '玖' => Digit(9),
        '十' | '拾' | '什' => Unit(10),
        '百' | '佰' | '陌' => Unit(100),
        '千' | '仟' | '阡' => Unit(1000),
        '廿' | '卄' => Tens(20),
        '卅' => Tens(30),
        '卌' => Tens(40),
        '万' | '萬' => Myriad(10_000),
        '亿' | '億' => Myriad(100_000_000),
        '兆' => Myriad(1_000_000_000_000),
        _ => return None,
    })
}

/// A fraction in one character as the decimals behind the point; thirds, sixths and the like have none.
pub(super) fn fraction(c: char) -> Option<Option<&'static str>> {
    Some(match c {
        '½' => Some("5"),
        '¼' => Some("25"),
        '¾' => Some("75"),
        '⅒' => Some("1"),
        '⅕' => Some("2"),
        '⅖' => Some("4"),
        '⅗' => Some("6"),
        '⅘' => Some("8"),
        '⅛' => Some("125"),
        '⅜' => Some("375"),
        '⅝' => Some("625"),
        '⅞' => Some("875"),
        '⅐' | '⅑' | '⅓' | '⅔' | '⅙' | '⅚' | '↉' => None,
        _ => return None,
    })
}

/// The value of a superscript digit.
pub(super) fn superscript(c: char) -> Option<u32> {
    match c {
        '¹' => Some(1),
        '²' => Some(2),
        '³' => Some(3),
        '⁰' | '⁴'..='⁹' => Some(u32::from(c) - u32::from('⁰')),
        _ => None,
    }
}

/// The value of a numeral that is a whole number in one character: Roman (Ⅻ), circled (⑱), parenthesised (⑻).
pub(super) fn symbol(c: char) -> Option<u64> {
    const ROMAN: [u64; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 50, 100, 500, 1000];
    let from = |start: char| u64::from(u32::from(c) - u32::from(start));
    match c {
        'Ⅰ'..='Ⅿ' => ROMAN.get(from('Ⅰ') as usize).copied(),
        'ⅰ'..='ⅿ' => ROMAN.get(from('ⅰ') as usize).copied(),
        '①'..='⑳' => Some(from('①') + 1),
        '⑴'..='⒇' => Some(from('⑴') + 1),
        '⒈'..='⒛' => Some(from('⒈') + 1),
        '❶'..='❿' => Some(from('❶') + 1),
        '㉑'..='㉟' => Some(from('㉑') + 21),
        '㊱'..='㊿' => Some(from('㊱') + 36),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_every_script_have_their_value() {
        for (text, value) in [("0٠०０𝟎", 0), ("7٧७７𝟕", 7), ("9٩९９𝟗", 9)] {
            for c in text.chars() {
                assert_eq!(digit(c), Some(value), "{c}");
            }
        }
        for c in "a²½Ⅻ①十:/\u{1}".chars() {
            assert_eq!(digit(c), None, "{c}");
        }
        assert!(ZEROS.is_sorted());
    }

    #[test]
    fn every_chinese_numeral_has_a_value_and_nothing_else_counts() {
        assert!(CHINESE.chars().all(|c| chinese(c).is_some()));
        assert!(!"点月上".chars().any(is_numeric));
    }
}
