//! Tables and figures for people.

use std::fmt::Display;

use meshd_contract::time::Timestamp;

/// Rows under a head, in columns that line up.
pub(super) fn table<const N: usize>(
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut all = vec![head.map(str::to_owned)];
    all.extend(rows);
    let letters = |cell: &String| cell.chars().count();
    let width = |column: usize| all.iter().map(|row| letters(&row[column])).max();
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &all {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// In the greatest unit that leaves a number of at least 1.
pub(super) fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (count, 0);
    while value >= 1024 && unit + 1 < units.len() {
        value /= 1024;
        unit += 1;
    }
    format!("{value} {}", units[unit])
}

/// So many of something that is several when an s is added.
pub(super) fn counted<N: Display + PartialEq + From<u8>>(count: N, what: &str) -> String {
    let ending = if count == 1.into() { "" } else { "s" };
    format!("{count} {what}{ending}")
}

/// How long ago something was, in the greatest unit that leaves a number of at least 1.
pub(super) fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.0.saturating_sub(then.0);
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_several() {
        let said = [0_u32, 1, 2].map(|count| counted(count, "peer"));
        assert_eq!(said, ["0 peers", "1 peer", "2 peers"]);
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(u64::MAX), "16777215 TiB");
    }

    #[test]
    fn times_are_short() {
        let now = Timestamp(1_000_000);
        for (before, text) in [
            (59, "59 s ago"),
            (60, "1 min ago"),
            (7200, "2 h ago"),
            (900_000, "10 d ago"),
        ] {
            assert_eq!(ago(Timestamp(now.0 - before), now), text);
        }
        assert_eq!(ago(Timestamp(now.0 + 5), now), "0 s ago");
    }

    #[test]
    fn letters_of_any_length_line_up() {
        let rows = [
            ["é".to_owned(), "1".to_owned()],
            ["ab".to_owned(), "2".to_owned()],
        ];
        assert_eq!(table(["A", "B"], rows), "A   B\né   1\nab  2\n");
    }
}
