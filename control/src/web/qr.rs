//! QR codes as pictures in a page.

use maud::{Markup, html};
use qrcode::{Color, QrCode};

/// The free margin that readers need, in modules (ISO/IEC 18004, section 5.3.8).
const MARGIN: usize = 4;

/// The code for `text`; nothing where the text is too long for one.
pub(super) fn svg(text: &str, label: &str) -> Markup {
    let Ok(code) = QrCode::new(text) else {
        return html! {};
    };
    let width = code.width();
    let size = width + 2 * MARGIN;
    let dark = code.to_colors();
    let dark = dark
        .iter()
        .enumerate()
        .filter(|(_, color)| **color == Color::Dark);
    let path: String = dark
        .map(|(n, _)| format!("M{} {}h1v1h-1z", n % width + MARGIN, n / width + MARGIN))
        .collect();
    html! {
        svg .qr viewBox=(format!("0 0 {size} {size}")) role="img" aria-label=(label) {
            rect width=(size) height=(size) fill="#fff" {}
            path d=(path) fill="#000" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_a_margin_and_a_finder() {
        let picture = svg("https://control.example.com/join/1", "the link").into_string();
        assert!(picture.contains("viewBox=\"0 0 37 37\""), "{picture}");
        assert!(picture.contains("M4 4h1v1h-1z"), "{picture}");
        assert!(svg(&"x".repeat(10_000), "").into_string().is_empty());
    }
}
