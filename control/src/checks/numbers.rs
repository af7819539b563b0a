//! The number that a terminal shows, among those that the page shows.

/// How many the page shows.
const CHOICES: usize = 3;
/// Two digits.
const FIRST: u32 = 10;
const COUNT: u32 = 90;

/// One number, and a few different ones among which it is, in no order.
///
/// # Errors
/// Only when the system gives no random bytes.
pub(super) fn draw() -> Result<(u16, Vec<u16>), getrandom::Error> {
    let mut choices: Vec<u16> = Vec::with_capacity(CHOICES);
    while choices.len() < CHOICES {
        let number = FIRST + getrandom::u32()? % COUNT;
        let number = u16::try_from(number).unwrap_or_default();
        if !choices.contains(&number) {
            choices.push(number);
        }
    }
    let place = usize::try_from(getrandom::u32()?).unwrap_or_default() % CHOICES;
    let number = choices[place];
    Ok((number, choices))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_one_of_three_in_any_place() {
        let mut places = [0; CHOICES];
        for _ in 0..300 {
            let (number, choices) = draw().expect("random bytes");
            assert_eq!(choices.len(), CHOICES);
            assert!(choices.iter().all(|choice| (10..100).contains(choice)));
            let place = choices.iter().position(|choice| *choice == number);
            places[place.expect("among them")] += 1;
        }
        assert!(places.iter().all(|count| *count > 30), "{places:?}");
    }
}
